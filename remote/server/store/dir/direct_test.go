package dir

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/transport/transporttest"
)

// TestDirectReads reads what is not in memory: past the page cache where the
// file system allows that, with the end of the file, which is not aligned, too.
func TestDirectReads(t *testing.T) {
	const size = 1<<20 + 4096 + 13
	r := newRig(t)
	r.write("f", 1, 1, size)
	o := r.openSettled("f")
	defer o.Close()
	buf := pages(t, size)
	for _, c := range []struct{ off, n int }{{0, size}, {4096, 1 << 20}, {13, 1 << 18}, {1 << 20, 4096 + 13}, {size, 0}} {
		drop(t, r.path("f"))
		dst := buf[:c.n]
		clear(dst)
		if err := o.Read(t.Context(), int64(c.off), dst); err != nil {
			t.Fatalf("%d bytes at %d: %v", c.n, c.off, err)
		}
		if err := transporttest.Check(dst, tag(1, 1), int64(c.off)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.ReadFile(r.path("f")); err != nil { // now it is in memory
		t.Fatal(err)
	}
	if err := o.Read(t.Context(), 0, buf); err != nil {
		t.Fatal(err)
	}
	f := o.Object.(*object).file
	if f.direct.align == 0 {
		unsupported(t, "this file system has no direct I/O, or does not say how")
	}
	if n := f.direct.reads.Load(); n != 2 {
		t.Errorf("%d direct reads, want those of the first two ranges, when they were not in memory", n)
	}
}

// pages returns memory that is aligned to pages.
func pages(t *testing.T, n int) []byte {
	t.Helper()
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(b) }) // it goes with the process
	return b
}

// drop removes a file from memory.
func drop(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fdatasync(int(f.Fd())); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
}
