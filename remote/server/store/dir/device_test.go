package dir

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/remote/server/store"
	"hbmfs/transport"
)

const deviceSize = 1 << 20

// loopDevice returns a writable block device that holds version 1.
func loopDevice(t *testing.T) string {
	t.Helper()
	asRoot(t)
	image := t.TempDir() + "/image"
	if err := os.WriteFile(image, content(4, 1, deviceSize), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "--find", "--show", image).CombinedOutput()
	if err != nil {
		unsupported(t, "no loop devices, or no losetup (package mount): "+strings.TrimSpace(string(out))+" "+err.Error())
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		setReadOnly(t, dev, "--setrw") // it would outlast the device
		exec.Command("losetup", "--detach", dev).Run()
	})
	return dev
}

func setReadOnly(t *testing.T, dev, how string) {
	t.Helper()
	if out, err := exec.Command("blockdev", how, dev).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func TestBlockDevice(t *testing.T) {
	dev := loopDevice(t)
	if _, err := newFiles(t).Store(dev, nil).Open(); !errors.Is(err, store.ErrWritable) {
		t.Fatalf("a writable device: %v", err)
	}
	setReadOnly(t, dev, "--setro")
	r := newRigOf(t, dev)
	name := filepath.Base(dev)
	attr, err := r.stat(name)
	if err != nil || attr.Mode&unix.S_IFMT != unix.S_IFREG || attr.Size != deviceSize {
		t.Fatalf("%v, %v", attr, err)
	}
	o := r.openSettled(name)
	defer o.Close()
	if o.Version() != transport.Version(attr.Version) {
		t.Error("another version than was looked up")
	}
	o.holds(t, 4, 1, deviceSize)
	setReadOnly(t, dev, "--setrw")
	o.isStale(t)
}

// TestBlockDeviceWritten makes a device writable between two reads, and writes
// to it by its own node or by another, which leaves the times of its own.
func TestBlockDeviceWritten(t *testing.T) {
	for _, own := range []bool{true, false} {
		dev := loopDevice(t)
		setReadOnly(t, dev, "--setro")
		r := newRigOf(t, dev)
		name := filepath.Base(dev)
		old := r.openSettled(name)
		old.holds(t, 4, 1, deviceSize)
		setReadOnly(t, dev, "--setrw")
		node := dev
		if !own {
			node = otherNode(t, dev)
		}
		writeDevice(t, node, content(4, 2, deviceSize))
		setReadOnly(t, dev, "--setro")
		select {
		case <-old.told:
		case <-time.After(patience):
			t.Error("the holder is not told")
		}
		old.isStale(t)
		o := r.openSettled(name)
		if o.Version() == old.Version() {
			t.Error("the same version after a write")
		}
		o.holds(t, 4, 2, deviceSize)
		o.Close()
		old.Close()
	}
}

func otherNode(t *testing.T, dev string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(dev, &st); err != nil {
		t.Fatal(err)
	}
	node := t.TempDir() + "/node"
	if err := unix.Mknod(node, unix.S_IFBLK|0o600, int(st.Rdev)); err != nil {
		t.Fatal(err)
	}
	return node
}

func writeDevice(t *testing.T, dev string, b []byte) {
	t.Helper()
	w := openForWriting(t, dev)
	defer w.Close()
	_, err := w.WriteAt(b, 0)
	if err := errors.Join(err, w.Sync()); err != nil {
		t.Fatal(err)
	}
}

func TestParseWrites(t *testing.T) {
	for line, want := range map[string]uint64{
		"  593033   123064 78397906   374957    84581   213776 76337360   355000        0    80328   743102   129081       37 67763736    13082     1659       61\n": 84581 + 129081,
		"1 2 3 4 5 6 7 8 9 10 11\n": 5,
	} {
		if got, err := parseWrites([]byte(line)); got != want || err != nil {
			t.Errorf("%q: %d, %v", line, got, err)
		}
	}
	for _, line := range []string{"", "\n", "1 2 3 4", "no numbers"} {
		if _, err := parseWrites([]byte(line)); !errors.Is(err, errCounters) {
			t.Errorf("%q: %v", line, err)
		}
	}
}

func FuzzParseWrites(f *testing.F) {
	f.Add([]byte("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n"))
	f.Add([]byte("\x00-1 2e9"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if n, err := parseWrites(line); err != nil && n != 0 {
			t.Errorf("%d, %v", n, err)
		}
	})
}
