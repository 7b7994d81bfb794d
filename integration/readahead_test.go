package integration

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/fs"
)

// came is how many bytes a mount has had from its target.
func came(s fs.Stats) (n int64) {
	for _, b := range s.Target.Bytes {
		n += b
	}
	return n
}

// TestTouch: a byte of a mapped file brings a MiB at most, wherever it is, and one
// page where the program says that it reads at random.
func TestTouch(t *testing.T) {
	const size = 64 << 20
	src := t.TempDir()
	writeTagged(t, filepath.Join(src, "f"), 1, 1, size)
	_, addr := startTarget(t, "127.0.0.1:0", "data="+src)
	for name, c := range map[string]struct {
		advice int
		most   int64
	}{
		"normal": {unix.MADV_NORMAL, 1 << 20},
		"random": {unix.MADV_RANDOM, 64 << 10},
	} {
		m := startMount(t, addr+"/data")
		f := mustOpen(t, m.path("f"), os.O_RDONLY)
		b, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
		must(t, err)
		must(t, f.Close())
		must(t, unix.Madvise(b, c.advice))
		before := came(m.stats())
		for _, off := range []int64{20 << 20, 0, 50<<20 + 12345*8, size - 8} {
			checkTagged(t, b[off:off+8], 1, 1, off)
			s := m.stats()
			if n := came(s) - before; n == 0 || n > c.most {
				t.Errorf("%s: a touch at %d brought %d bytes", name, off, n)
			}
			before = came(s)
		}
		must(t, unix.Munmap(b))
		if s := m.stats(); s.AheadBytes != 0 {
			t.Errorf("%s: %d bytes were read ahead", name, s.AheadBytes)
		}
	}
}

// TestStreams: programs that read a file from end to end, in different ways, get
// its bytes, which come once.
func TestStreams(t *testing.T) {
	const size = 96<<20 + 12345
	src := t.TempDir()
	want := tagged(1, 1, 0, size)
	must(t, os.WriteFile(filepath.Join(src, "f"), want, 0o644))
	for via, source := range sources(t, src) {
		for name, read := range map[string]func(t *testing.T, path string) []byte{
			"read": func(t *testing.T, path string) []byte {
				b, err := os.ReadFile(path)
				must(t, err)
				return b
			},
			"small reads": func(t *testing.T, path string) []byte {
				f := mustOpen(t, path, os.O_RDONLY)
				defer f.Close()
				var all bytes.Buffer
				_, err := io.CopyBuffer(&all, struct{ io.Reader }{f}, make([]byte, 5000))
				must(t, err)
				return all.Bytes()
			},
			"O_DIRECT": func(t *testing.T, path string) []byte { return readDirect(t, path, size, 1<<20) },
			"at once":  func(t *testing.T, path string) []byte { return readDirect(t, path, size, size) },
			"mmap": func(t *testing.T, path string) []byte {
				f := mustOpen(t, path, os.O_RDONLY)
				defer f.Close()
				b, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
				must(t, err)
				defer unix.Munmap(b)
				return bytes.Clone(b)
			},
		} {
			t.Run(via+"/"+name, func(t *testing.T) {
				m := startMount(t, source)
				if got := read(t, m.path("f")); !bytes.Equal(got, want) {
					t.Fatalf("%d bytes, not those of the file", len(got))
				}
				s := m.stats()
				if name == "at once" { // the kernel asks for all of it, in any order
					if n := came(s); n < size || n > size+size/10 {
						t.Errorf("%d bytes came for %d", n, size)
					}
					return
				}
				if n := came(s); n < size || n > size+size/100 {
					t.Errorf("%d bytes came for %d", n, size)
				}
				if s.AheadUsed < size/2 || s.AheadUsed > s.AheadBytes {
					t.Errorf("%d bytes were read ahead, %d used", s.AheadBytes, s.AheadUsed)
				}
			})
		}
	}
}

// readDirect reads a file past the page cache, so many bytes at a time.
func readDirect(t *testing.T, path string, size, each int) []byte {
	f := mustOpen(t, path, os.O_RDONLY|unix.O_DIRECT)
	defer f.Close()
	b := aligned(size + 4096)
	for got := 0; got < size; {
		n, err := f.Read(b[got : min(got+each+4095, len(b))&^4095])
		must(t, err)
		got += n
	}
	return b[:size]
}

// TestStreamOfChangedFile: a file changes while it is read in sequence. What is
// read once the writer was let go is an error, and no byte that came before.
func TestStreamOfChangedFile(t *testing.T) {
	const size = 64 << 20
	src := t.TempDir()
	for via, source := range sources(t, src) {
		m := startMount(t, source)
		for how, change := range writers {
			if how == "rename over" {
				continue // what is open stays what it was
			}
			t.Run(via+"/"+how, func(t *testing.T) {
				name := via + how
				path := filepath.Join(src, name)
				writeTagged(t, path, 1, 1, size)
				f := mustOpen(t, m.path(name), os.O_RDONLY|unix.O_DIRECT) // each read asks the daemon
				defer f.Close()
				b := aligned(1 << 20)
				for off := int64(0); off < 16<<20; off += int64(len(b)) {
					_, err := f.ReadAt(b, off)
					must(t, err)
					checkTagged(t, b, 1, 1, off)
				}
				if s := m.stats(); s.AheadBytes == 0 {
					t.Error("nothing was read ahead")
				}
				change(t, path, size)
				for off := int64(16 << 20); off < 32<<20; off += int64(len(b)) {
					if n, err := f.ReadAt(b, off); n != 0 || err == nil {
						t.Fatalf("%d bytes at %d of a version that is no more: %v", n, off, err)
					}
				}
			})
		}
	}
}
