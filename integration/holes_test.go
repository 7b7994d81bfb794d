package integration

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"hbmfs/fs/uapi"

	"golang.org/x/sys/unix"
)

// writeSparse makes a file of that size with tagged data at the offsets.
func writeSparse(t *testing.T, path string, size int64, at ...int64) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	for _, off := range at {
		_, err := f.WriteAt(tagged(1, 1, off, min(64<<10, size-off)), off)
		must(t, err)
	}
	must(t, errors.Join(f.Truncate(size), f.Close()))
}

// TestHoles: SEEK_DATA and SEEK_HOLE say of a file what they say at its source.
func TestHoles(t *testing.T) {
	src := newTmpfs(t)
	const size = 8<<30 + 777
	var fragments []int64
	for i := range int64(3000) { // more than the target tells at once
		fragments = append(fragments, i<<20)
	}
	writeSparse(t, filepath.Join(src, "sparse"), size, 1<<20, 5<<30, size-5)
	writeSparse(t, filepath.Join(src, "hole"), size)
	writeSparse(t, filepath.Join(src, "fragments"), 4<<30, fragments...)
	writeSparse(t, filepath.Join(src, "full"), 60<<10, 0)
	writeSparse(t, filepath.Join(src, "empty"), 0)
	random := rand.New(rand.NewPCG(1, 2))
	for via, source := range sources(t, src) {
		m := startMount(t, source)
		for _, name := range []string{"sparse", "hole", "fragments", "full", "empty"} {
			there, here := mustOpen(t, filepath.Join(src, name), os.O_RDONLY), mustOpen(t, m.path(name), os.O_RDONLY)
			info, err := there.Stat()
			must(t, err)
			offsets := []int64{0, 1, 1<<20 - 1, 1 << 20, 1<<20 + 65536, size - 5, info.Size() - 1, info.Size(), info.Size() + 1, 1 << 62}
			for range 30 {
				offsets = append(offsets, random.Int64N(info.Size()+1))
			}
			for _, off := range offsets {
				for _, whence := range []int{unix.SEEK_DATA, unix.SEEK_HOLE} {
					want, wantErr := unix.Seek(int(there.Fd()), off, whence)
					if got, err := unix.Seek(int(here.Fd()), off, whence); got != want || err != wantErr {
						t.Errorf("%s, %s: from %d, whence %d: %d, %v, want %d, %v", via, name, off, whence, got, err, want, wantErr)
					}
				}
			}
			must(t, errors.Join(there.Close(), here.Close()))
		}
	}
}

// TestSparseCopy copies a file of 8 GiB with holes by programs that know of them:
// only data is read, and the copies are equal.
func TestSparseCopy(t *testing.T) {
	const size = 8 << 30
	src, out := t.TempDir(), newTmpfs(t)
	writeSparse(t, filepath.Join(src, "f"), size, 0, 3<<30+4096, size-64<<10)
	var st unix.Stat_t
	must(t, unix.Stat(filepath.Join(src, "f"), &st))
	if st.Blocks*512 > 1<<20 {
		unsupported(t, "the file system of "+src+" has no holes")
	}
	_, addr := startTarget(t, "127.0.0.1:0", "data="+src)
	for what, script := range map[string]string{
		"cp":  `cp --sparse=auto f "$OUT/f"`,
		"tar": `tar -S -cf - f | tar -C "$OUT" -xf -`,
	} {
		m := startMount(t, addr+"/data")
		cmd := exec.Command("sh", "-c", script)
		cmd.Dir, cmd.Env = m.dir, append(os.Environ(), "OUT="+out)
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", what, err, said)
		}
		if s := m.stats(); s.PlainBytes > 4<<20 || s.PlainBytes < 3*64<<10 {
			t.Errorf("%s: %d bytes were read", what, s.PlainBytes)
		}
		same(t, filepath.Join(src, "f"), filepath.Join(out, "f"))
		must(t, os.Remove(filepath.Join(out, "f")))
	}
}

// same compares two files, where one has data.
func same(t *testing.T, a, b string) {
	t.Helper()
	fa, fb := mustOpen(t, a, os.O_RDONLY), mustOpen(t, b, os.O_RDONLY)
	defer fa.Close()
	defer fb.Close()
	for _, f := range []*os.File{fa, fb} {
		for at := int64(0); ; {
			from, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
			if err == unix.ENXIO {
				break
			}
			must(t, err)
			at, err = unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE)
			must(t, err)
			pa, pb := make([]byte, at-from), make([]byte, at-from)
			_, errA := fa.ReadAt(pa, from)
			_, errB := fb.ReadAt(pb, from)
			must(t, errors.Join(errA, errB))
			if !bytes.Equal(pa, pb) {
				t.Errorf("%s and %s differ between %d and %d", a, b, from, at)
			}
		}
	}
	sa, err := fa.Stat()
	must(t, err)
	sb, err := fb.Stat()
	must(t, err)
	if sa.Size() != sb.Size() {
		t.Errorf("%s has %d bytes, %s %d", a, sa.Size(), b, sb.Size())
	}
}

// TestSparseReads: plain reads of holes are not on the network, and their bytes
// are right next to those of data, until the file changes.
func TestSparseReads(t *testing.T) {
	const size = 256<<20 + 777
	src := t.TempDir()
	path := filepath.Join(src, "f")
	writeSparse(t, path, size, 3<<20+4096, 100<<20, size-5)
	must(t, os.Chtimes(path, time.Now(), time.Now().Add(-time.Hour)))
	_, addr := startTarget(t, "127.0.0.1:0", "data="+src)
	m := startMount(t, addr+"/data")
	f, want := mustOpen(t, m.path("f"), os.O_RDONLY), mustOpen(t, path, os.O_RDONLY)
	defer f.Close()
	defer want.Close()
	direct := mustOpen(t, m.path("f"), os.O_RDONLY|unix.O_DIRECT) // past the kernel's pages
	defer direct.Close()
	b, w := make([]byte, 4<<20), make([]byte, 4<<20)
	for off := int64(0); off < size; off += int64(len(b)) {
		n, err := f.ReadAt(b, off)
		wn, wantErr := want.ReadAt(w, off)
		if n != wn || err != wantErr || !bytes.Equal(b[:n], w[:n]) {
			t.Fatalf("at %d: %d bytes of %d, %v", off, n, wn, err)
		}
	}
	s := m.stats()
	if got := s.Target.Bytes[uapi.PathStaged]; s.PlainBytes < size || got == 0 || got > 16<<20 {
		t.Errorf("%d bytes were read, %d over the network", s.PlainBytes, got)
	}
	must(t, os.WriteFile(path, tagged(1, 2, 0, 5<<20), 0o644))
	if n, err := direct.ReadAt(aligned(4096), 200<<20); !errors.Is(err, unix.ESTALE) {
		t.Errorf("a hole of the version before: %d bytes, %v", n, err)
	}
	checkTagged(t, mustRead(t, m.path("f")), 1, 2, 0)
}
