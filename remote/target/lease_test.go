package target

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// TestTruncatedByReader truncates a file with open(O_RDONLY|O_TRUNC), which
// breaks no lease: the mount is told all the same.
func TestTruncatedByReader(t *testing.T) {
	r := newRig(t)
	m := r.mount()
	for _, readFirst := range []bool{true, false} {
		r.write("f", 1, 1, fileSize)
		ref := m.openSettled("f")
		fd, err := unix.Open(r.path("f"), unix.O_RDONLY|unix.O_TRUNC|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		if readFirst {
			m.isStale(ref)
		}
		if e := m.event(); e.Handle != ref.Handle {
			t.Errorf("an event about handle %d, not %d", e.Handle, ref.Handle)
		}
		m.isStale(ref)
		m.close(ref)
	}
}

func (m *mount) isStale(ref transport.FileRef) {
	m.t.Helper()
	if _, err := m.read(ref, 0, 8); !errors.Is(err, transport.ErrStale) {
		m.t.Errorf("read of a file that changed: %v", err)
	}
}

// TestWriterGoesOn has mounts that answer, and one that does not: that one loses
// its session.
func TestWriterGoesOn(t *testing.T) {
	r := newRig(t)
	r.write("f", 1, 1, fileSize)
	quiet := r.session()
	quiet.attach(false)
	lost := r.target.session(transport.SessionID(quiet.id)).ended
	good := []*mount{r.mount(), r.mount()}
	ref := quiet.openSettled("f")
	var refs []transport.FileRef
	for _, m := range good {
		refs = append(refs, m.openSettled("f"))
	}
	opened := make(chan *os.File)
	go func() { opened <- openForWriting(t, r.path("f")) }()
	select {
	case w := <-opened:
		w.Close()
	case <-time.After(patience):
		t.Fatal("the writer still waits")
	}
	for i, m := range good {
		m.isStale(refs[i])
	}
	if e := quiet.event(); e.Handle != ref.Handle || e.Reason == "" {
		t.Errorf("event %v", e)
	}
	select {
	case <-lost:
	case <-time.After(patience):
		t.Fatal("a mount that does not answer keeps its session")
	}
	if _, err := quiet.stat("d", "f"); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a lost session: %v", err)
	}
	for _, m := range good {
		m.openSettled("f")
	}
}

// TestOpenWaitsForWriteLease opens a file that another program has a write lease
// on, and gives it up when it is asked to.
func TestOpenWaitsForWriteLease(t *testing.T) {
	r := newRig(t)
	r.write("f", 1, 1, fileSize)
	w := openForWriting(t, r.path("f"))
	lease := func(cmd, arg int) int {
		kind, err := unix.FcntlInt(w.Fd(), cmd, arg)
		if err != nil {
			t.Fatal(err)
		}
		return kind
	}
	lease(unix.F_SETOWN, os.Getpid())
	lease(unix.F_SETLEASE, unix.F_WRLCK)
	m := r.mount()
	type result struct {
		reply *wire.OpenReply
		err   error
	}
	opened := make(chan result, 1)
	go func() {
		reply, err := m.tryOpen("d", "f", nil)
		opened <- result{reply, err}
	}()
	for lease(unix.F_GETLEASE, 0) == unix.F_WRLCK {
		runtime.Gosched()
	}
	w.Close()
	got := <-opened
	if got.err != nil {
		t.Fatal(got.err)
	}
	m.holds(refOf(got.reply), 1, 1, fileSize)
}

func TestUnsettled(t *testing.T) {
	t.Run("open writer", func(t *testing.T) {
		r := newRig(t)
		r.write("f", 1, 1, fileSize)
		w := openForWriting(t, r.path("f"))
		defer w.Close()
		m := r.mount()
		ref, reply := m.open("f")
		if reply.Settled || reply.UnsettledWhy == "" {
			t.Fatalf("settled: %v %q", reply.Settled, reply.UnsettledWhy)
		}
		m.holds(ref, 1, 1, fileSize)
		if err := w.Truncate(100); err != nil {
			t.Fatal(err)
		}
		if _, err := m.read(ref, 0, 8); !errors.Is(err, transport.ErrStale) {
			t.Errorf("read after a change that size shows: %v", err)
		}
	})
	t.Run("someone else's file", func(t *testing.T) {
		asRoot(t)
		r := newRig(t)
		r.write("f", 1, 1, fileSize)
		if err := os.Chown(r.path("f"), 65534, 65534); err != nil {
			t.Fatal(err)
		}
		f := openWithoutCapLease(t, r)
		if f.settled() || f.why == "" {
			t.Errorf("settled: %v %q", f.settled(), f.why)
		}
		f.table.release(f)
	})
}

func TestLeasesCover(t *testing.T) {
	for _, path := range []string{"/", t.TempDir(), "/dev/shm"} {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		fs, err := fileSystem(fd)
		unix.Close(fd)
		if err != nil || fs != unix.OVERLAYFS_SUPER_MAGIC && !leasesCover(fs) {
			t.Errorf("%s: %#x, %v", path, fs, err)
		}
	}
	for _, fs := range []uint32{
		unix.NFS_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC,
		unix.OVERLAYFS_SUPER_MAGIC, unix.CEPH_SUPER_MAGIC, unix.V9FS_MAGIC, 0,
	} {
		if leasesCover(fs) {
			t.Errorf("%#x", fs)
		}
	}
}

// TestOverlayIsUnsettled writes to the layer below an overlay, which breaks no
// lease that is taken through it.
func TestOverlayIsUnsettled(t *testing.T) {
	asRoot(t)
	base := t.TempDir()
	for _, dir := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(base+"/"+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(base+"/lower/f", content(1, 1, fileSize), 0o644); err != nil {
		t.Fatal(err)
	}
	layers := "lowerdir=" + base + "/lower,upperdir=" + base + "/upper,workdir=" + base + "/work"
	if err := unix.Mount("overlay", base+"/merged", "overlay", 0, layers); err != nil {
		unsupported(t, "no overlayfs: "+err.Error())
	}
	t.Cleanup(func() { unix.Unmount(base+"/merged", unix.MNT_DETACH) })
	m := newRig(t, Export{"overlay", base + "/merged"}).mount()
	reply, err := m.tryOpen("overlay", "f", nil)
	if err != nil {
		t.Fatal(err)
	}
	if reply.Settled || !strings.Contains(reply.UnsettledWhy, "overlay") {
		t.Errorf("settled: %v %q", reply.Settled, reply.UnsettledWhy)
	}
	m.holds(refOf(reply), 1, 1, fileSize)
	w := openForWriting(t, base+"/lower/f")
	defer w.Close()
	if _, err := w.WriteAt(content(1, 2, fileSize), 0); err != nil {
		t.Fatal(err)
	}
	m.isStale(refOf(reply))
}

// openWithoutCapLease opens "f" from a thread that may not lease others' files.
func openWithoutCapLease(t *testing.T, r *rig) (f *openFile) {
	var wg sync.WaitGroup
	wg.Go(func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var caps [2]unix.CapUserData
		err := unix.Capget(&hdr, &caps[0])
		caps[0].Effective &^= 1 << unix.CAP_LEASE
		err = errors.Join(err, unix.Capset(&hdr, &caps[0]))
		if err == nil {
			f, _, err = r.target.files.open(context.Background(), r.target.datasets[0], []byte("f"))
		}
		if err != nil {
			t.Error(err)
		}
	})
	wg.Wait()
	if f == nil {
		t.FailNow()
	}
	return f
}
