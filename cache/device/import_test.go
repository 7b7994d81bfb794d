package device_test

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/cache/device"
	"hbmfs/cache/device/devicetest"
	"hbmfs/transport"
)

// newMemfd makes an application's memfd with those seals.
func newMemfd(t *testing.T, size int64, seals int) devicetest.App {
	t.Helper()
	fd, err := unix.MemfdCreate("application", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Ftruncate(fd, size); err != nil {
		t.Fatal(err)
	}
	app := mapApp(t, fd, size)
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		t.Fatal(err)
	}
	return app
}

func mapApp(t *testing.T, fd int, size int64) devicetest.App {
	t.Helper()
	mem, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(mem) })
	return devicetest.App{FD: fd, Mem: mem}
}

func TestImportMemfd(t *testing.T) {
	devicetest.RunImport(t, open(t, "memfd"), func(t *testing.T, size int64) devicetest.App {
		return newMemfd(t, size, unix.F_SEAL_SHRINK)
	})
}

// TestImportUdmabuf imports what the same driver made for somebody else.
func TestImportUdmabuf(t *testing.T) {
	p := open(t, "udmabuf")
	devicetest.RunImport(t, p, func(t *testing.T, size int64) devicetest.App {
		r, err := p.Alloc(transport.Domain{}, size)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		fd, _, _ := r.DMABuf()
		return mapApp(t, fd, size)
	})
}

// TestImportRefusesMemfd: memory that could be cut off, or can't be written.
func TestImportRefusesMemfd(t *testing.T) {
	importer, _ := device.ImporterOf(open(t, "memfd"))
	for seals, want := range map[int]string{
		0:                "F_SEAL_SHRINK",
		unix.F_SEAL_GROW: "F_SEAL_SHRINK",
		unix.F_SEAL_SHRINK | unix.F_SEAL_FUTURE_WRITE: "sealed against writing",
	} {
		app := newMemfd(t, 8192, seals)
		_, err := importer.Import(transport.Domain{}, app.FD, 0, 4096)
		if !errors.Is(err, device.ErrImport) || !strings.Contains(err.Error(), want) {
			t.Errorf("seals %#x: %v", seals, err)
		}
	}
}

// TestImportByKind: a device that stands for others' takes all that stands for one's
// memory; one that has its own, what its provider takes.
func TestImportByKind(t *testing.T) {
	app := newMemfd(t, 8192, unix.F_SEAL_SHRINK)
	for _, name := range []string{"memfd", "udmabuf"} {
		p, err := device.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := device.Import(p, transport.Domain{UID: 5}, app.FD, 100, 8000)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, ok := b.DMABuf(); ok || b.Size() != 8000 || b.Domain().UID != 5 {
			t.Errorf("%s: %+v", name, b)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if b, err := device.Import(p, transport.Domain{}, 0x7fff, 0, 1); err == nil {
			t.Errorf("%s takes no descriptor: %v", name, b)
		}
	}
	if b, err := device.Import(devicetest.Hidden{TB: t}, transport.Domain{}, app.FD, 0, 4096); !errors.Is(err, device.ErrKind) {
		t.Errorf("hidden: %v, %v", b, err)
	}
}

// TestImportAllocated: what is allocated is there, though nobody has written to it, and
// nothing is there for what is allocated elsewhere.
func TestImportAllocated(t *testing.T) {
	if err := unix.Cachestat(0, &unix.CachestatRange{}, &unix.Cachestat_t{}, 0); errors.Is(err, unix.ENOSYS) {
		unsupported(t, "this kernel has no cachestat(2): Linux 6.5 has")
	}
	app := newMemfd(t, 8*4096, unix.F_SEAL_SHRINK)
	for _, c := range []struct {
		off, n int64
		holes  bool
	}{{8 * 4096, 8 * 4096, true}, {4096, 2 * 4096, false}} {
		if err := unix.Fallocate(app.FD, unix.FALLOC_FL_KEEP_SIZE, c.off, c.n); err != nil {
			t.Fatal(err)
		}
		b, err := device.Import(open(t, "memfd"), transport.Domain{}, app.FD, 4196, 2*4096-100)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.CheckPages(0, b.Size()); errors.Is(err, device.ErrHoles) != c.holes {
			t.Errorf("%d bytes at %d are allocated: %v", c.n, c.off, err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestImportHoles: missing pages are noticed, in the range only, and the program's
// position in the file stays.
func TestImportHoles(t *testing.T) {
	app := newMemfd(t, 5*4096, unix.F_SEAL_SHRINK)
	b, err := device.Import(open(t, "memfd"), transport.Domain{}, app.FD, 100, 4*4096)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.CheckPages(0, 1); !errors.Is(err, device.ErrHoles) || !errors.Is(err, device.ErrImport) {
		t.Errorf("nothing is there: %v", err)
	}
	app.Mem[4096] = 1
	app.Mem[2*4096] = 1
	for _, c := range []struct {
		off, n int64
		there  bool
	}{{4096 - 100, 2 * 4096, true}, {4096 - 101, 1, false}, {4096 - 100, 2*4096 + 1, false}, {5000, 1, true}} {
		if err := b.CheckPages(c.off, c.n); (err == nil) != c.there {
			t.Errorf("%d bytes at %d: %v", c.n, c.off, err)
		}
	}
	if at, err := unix.Seek(app.FD, 0, 1); err != nil || at != 0 {
		t.Errorf("the position is %d, %v", at, err)
	}
	if err := unix.Fallocate(app.FD, 0, 0, 5*4096); err != nil {
		t.Fatal(err)
	}
	if err := b.CheckPages(0, 4*4096); err != nil {
		t.Errorf("all are allocated: %v", err)
	}
	if err := unix.Fallocate(app.FD, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096); err != nil {
		t.Fatal(err)
	}
	if err := b.CheckPages(0, 1); !errors.Is(err, device.ErrHoles) {
		t.Errorf("a hole was punched: %v", err)
	}
}

// TestImportHugePages: a hole in them may stay one.
func TestImportHugePages(t *testing.T) {
	fd, err := unix.MemfdCreate("application", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_HUGETLB)
	if err != nil {
		unsupported(t, "a memfd of huge pages: "+err.Error())
	}
	defer unix.Close(fd)
	_, sealing := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK)
	importer, _ := device.ImporterOf(open(t, "memfd"))
	if _, err := importer.Import(transport.Domain{}, fd, 0, 4096); !errors.Is(err, device.ErrImport) || sealing != nil {
		t.Errorf("%v, %v", err, sealing)
	}
}
