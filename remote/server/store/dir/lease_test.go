package dir

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

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
	opening := make(chan *opened, 1)
	go func() {
		o, err := r.tryOpen("f")
		if err != nil {
			t.Error(err)
		}
		opening <- o
	}()
	for lease(unix.F_GETLEASE, 0) == unix.F_WRLCK {
		runtime.Gosched()
	}
	w.Close()
	if o := <-opening; o != nil {
		o.holds(t, 1, 1, fileSize)
		o.Close()
	}
}

func TestUnsettled(t *testing.T) {
	t.Run("open writer", func(t *testing.T) {
		r := newRig(t)
		r.write("f", 1, 1, fileSize)
		w := openForWriting(t, r.path("f"))
		defer w.Close()
		o := r.open("f")
		defer o.Close()
		if o.Unsettled() == "" {
			t.Fatal("settled")
		}
		o.holds(t, 1, 1, fileSize)
		if err := w.Truncate(100); err != nil {
			t.Fatal(err)
		}
		o.isStale(t)
	})
	t.Run("someone else's file", func(t *testing.T) {
		asRoot(t)
		r := newRig(t)
		r.write("f", 1, 1, fileSize)
		if err := os.Chown(r.path("f"), 65534, 65534); err != nil {
			t.Fatal(err)
		}
		o := openWithoutCapLease(t, r)
		defer o.Close()
		if o.Unsettled() == "" {
			t.Error("settled")
		}
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
	r := newRigOf(t, base+"/merged")
	o := r.open("f")
	defer o.Close()
	if !strings.Contains(o.Unsettled(), "overlay") {
		t.Errorf("unsettled %q", o.Unsettled())
	}
	o.holds(t, 1, 1, fileSize)
	w := openForWriting(t, base+"/lower/f")
	defer w.Close()
	if _, err := w.WriteAt(content(1, 2, fileSize), 0); err != nil {
		t.Fatal(err)
	}
	o.isStale(t)
}

// openWithoutCapLease opens "f" from a thread that may not lease others' files.
func openWithoutCapLease(t *testing.T, r *rig) (o *opened) {
	var wg sync.WaitGroup
	wg.Go(func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var caps [2]unix.CapUserData
		err := unix.Capget(&hdr, &caps[0])
		caps[0].Effective &^= 1 << unix.CAP_LEASE
		err = errors.Join(err, unix.Capset(&hdr, &caps[0]))
		if err == nil {
			o, err = r.tryOpen("f")
		}
		if err != nil {
			t.Error(err)
		}
	})
	wg.Wait()
	if o == nil {
		t.FailNow()
	}
	return o
}
