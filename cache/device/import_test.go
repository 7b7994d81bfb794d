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
