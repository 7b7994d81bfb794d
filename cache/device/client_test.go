package device

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// clientEnv makes the test binary play a client of a region whose descriptor is
// its fd 3, instead of running tests. Its value is the region's size.
const clientEnv = "HBMFS_TEST_REGION_SIZE"

// attempt is something that a client tries with a region's descriptor, and the
// errno that must stop it.
type attempt struct {
	name string
	do   func(fd int, size int64) error
	want error
}

var attempts = []attempt{
	{"truncate", func(fd int, _ int64) error { return unix.Ftruncate(fd, 0) }, unix.EPERM},
	{"shrink by a page", func(fd int, n int64) error { return unix.Ftruncate(fd, n-4096) }, unix.EPERM},
	{"grow", func(fd int, n int64) error { return unix.Ftruncate(fd, n+4096) }, unix.EPERM},
	{"write", func(fd int, _ int64) error { _, err := unix.Pwrite(fd, []byte("spoilt"), 0); return err }, unix.EPERM},
	{"punch a hole", func(fd int, n int64) error {
		return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, n)
	}, unix.EPERM},
	{"map writable", func(fd int, n int64) error {
		mem, err := unix.Mmap(fd, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err == nil {
			_ = unix.Munmap(mem)
		}
		return err
	}, unix.EPERM},
	{"make a read-only mapping writable", func(fd int, n int64) error {
		return onMapping(fd, n, func(mem []byte) error { return unix.Mprotect(mem, unix.PROT_READ|unix.PROT_WRITE) })
	}, unix.EACCES},
	{"remove pages by a read-only mapping", func(fd int, n int64) error {
		return onMapping(fd, n, func(mem []byte) error { return unix.Madvise(mem, unix.MADV_REMOVE) })
	}, unix.EACCES},
	{"add a seal", func(fd int, _ int64) error {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE)
		return err
	}, unix.EPERM},
}

func onMapping(fd int, n int64, do func([]byte) error) error {
	mem, err := unix.Mmap(fd, 0, int(n), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	return errors.Join(do(mem), unix.Munmap(mem))
}

// misbehave tries everything on fd and returns what was not stopped as it should be.
func misbehave(fd int, size int64) error {
	var errs []error
	for _, a := range attempts {
		if err := a.do(fd, size); !errors.Is(err, a.want) {
			errs = append(errs, fmt.Errorf("%s: got %v, want %v", a.name, err, a.want))
		}
	}
	return errors.Join(errs...)
}

// asClient behaves as a client: it maps fd read-only and copies what it sees to
// out, after it has misbehaved by fd, a dup of it, and a writable reopen of it.
func asClient(fd int, size int64, out io.Writer) error {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dup)
	reopened, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(reopened)
	for _, each := range []int{fd, dup, reopened} {
		err = errors.Join(err, misbehave(each, size))
	}
	return errors.Join(err, onMapping(fd, size, func(mem []byte) error {
		_, err := out.Write(mem)
		return err
	}))
}

// clientMain is the client process. It exits 0 if everything was stopped and the
// mapping was readable.
func clientMain(size string) int {
	var n int64
	if _, err := fmt.Sscan(size, &n); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if err := asClient(3, n, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func TestClientInThisProcess(t *testing.T) { eachProvider(t, testClientInThisProcess) }

func testClientInThisProcess(t *testing.T, p Provider) {
	r := newRegion(t, p, 1<<20)
	fill(r)
	var seen bytes.Buffer
	if err := asClient(r.FD(), r.Size(), &seen); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(seen.Bytes(), r.Bytes()) {
		t.Error("the client's mapping shows other bytes than the owner's")
	}
	checkFill(t, seen.Bytes())
}

func TestClientProcess(t *testing.T) { eachProvider(t, testClientProcess) }

func testClientProcess(t *testing.T, p Provider) {
	r := newRegion(t, p, 1<<20)
	fill(r)
	t.Run("same uid", func(t *testing.T) { runClient(t, r, nil) })
	t.Run("other uid", func(t *testing.T) {
		if os.Geteuid() != 0 {
			unsupported(t, "only root can start a process of another uid")
		}
		runClient(t, r, &syscall.Credential{Uid: 65534, Gid: 65534})
	})
	checkFill(t, r.Bytes())
}

func runClient(t *testing.T, r Region, as *syscall.Credential) {
	t.Helper()
	// The borrowed descriptor stays the region's: the child gets a dup of it.
	dup, err := unix.FcntlInt(uintptr(r.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(dup), "region")
	defer f.Close()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	var out bytes.Buffer
	var complaints strings.Builder
	// By descriptor, since another uid may not reach the test binary's folder.
	child := exec.Command("/proc/self/fd/4")
	child.Dir = "/"
	child.Env = append(os.Environ(), fmt.Sprintf("%s=%d", clientEnv, r.Size()))
	child.ExtraFiles = []*os.File{f, self}
	child.Stdout, child.Stderr = &out, &complaints
	child.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	if err := child.Run(); err != nil {
		t.Fatalf("client: %v\n%s", err, complaints.String())
	}
	checkFill(t, out.Bytes())
}
