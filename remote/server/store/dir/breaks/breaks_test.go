package breaks

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come; reaching it is a failure.
const patience = 20 * time.Second

// TestBreaksAreNamed breaks many leases at once: the kernel names each, and
// where it can name none, says so.
func TestBreaksAreNamed(t *testing.T) {
	const files = 300
	fds := make(chan int, files)
	all := make(chan struct{}, 1)
	b, err := Listen(func(named []int, others bool) {
		for _, fd := range named {
			fds <- fd
		}
		if others {
			all <- struct{}{}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Stop()
	dir := t.TempDir()
	leased := make(map[int]bool)
	for i := range files {
		name := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		fd := int(f.Fd())
		if err := b.Own(fd); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK); err != nil {
			t.Fatal(err)
		}
		leased[fd] = true
	}
	for i := range files {
		_, err := unix.Open(filepath.Join(dir, fmt.Sprint(i)), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != unix.EWOULDBLOCK {
			t.Fatalf("opened for writing: %v", err)
		}
	}
	late := time.After(patience)
	for range files {
		select {
		case fd := <-fds:
			if !leased[fd] {
				t.Errorf("descriptor %d is named twice, or has no lease", fd)
			}
			delete(leased, fd)
		case <-late:
			t.Fatalf("%d of %d broken leases were not named", len(leased), files)
		}
	}
	if err := unix.Tgkill(os.Getpid(), b.tid, unix.SIGIO); err != nil { // as a full queue does
		t.Fatal(err)
	}
	select {
	case <-all:
	case <-late:
		t.Error("a signal that names nothing is not passed on")
	}
}

// TestBreakTime refuses what is too short, and nothing else.
func TestBreakTime(t *testing.T) {
	for text, good := range map[string]bool{"45\n": true, "2\n": true, "0\n": true, "1\n": false, "": false, "soon\n": false} {
		if err := judgeBreakTime(text); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
}
