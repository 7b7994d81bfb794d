package target

import (
	"crypto/sha256"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/remote/wire"
	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

func TestReadRanges(t *testing.T) {
	const size = fileSize + 13
	r := newRig(t)
	r.write("f", 1, 1, size)
	m := r.mount()
	ref := m.openSettled("f")
	for _, c := range []struct {
		off int64
		n   int
		err error
	}{
		{0, 0, nil},
		{0, size, nil},
		{1, 7, nil},
		{size - 1, 1, nil},
		{size, 0, nil},
		{size, 1, transport.ErrRange},
		{size - 1, 2, transport.ErrRange},
		{-1, 1, transport.ErrRange},
		{1<<63 - 1, 1, transport.ErrRange},
	} {
		got, err := m.read(ref, c.off, c.n)
		if !errors.Is(err, c.err) {
			t.Errorf("%d bytes at %d: %v, not %v", c.n, c.off, err, c.err)
		}
		if c.err == nil {
			if err := transporttest.Check(got, tag(1, 1), c.off); err != nil {
				t.Error(err)
			}
		}
	}
	other := ref
	other.Version[0]++
	if _, err := m.read(other, 0, 8); !errors.Is(err, transport.ErrStale) {
		t.Errorf("another version: %v", err)
	}
	other = ref
	other.Handle++
	if _, err := m.read(other, 0, 8); !errors.Is(err, transport.ErrUnknownFile) {
		t.Errorf("another handle: %v", err)
	}
}

// TestReadNow reads without waiting: the right bytes, or none.
func TestReadNow(t *testing.T) {
	r := newRig(t)
	r.write("f", 1, 1, fileSize)
	m := r.mount()
	ref := m.openSettled("f")
	b := make([]byte, fileSize)
	switch err := m.source.Read(ref, 0, b, false); {
	case errors.Is(err, transport.ErrWouldBlock):
		unsupported(t, "this file system can't say what is in memory")
	case err != nil:
		t.Fatal(err)
	}
	if err := transporttest.Check(b, tag(1, 1), 0); err != nil {
		t.Error(err)
	}
}

func TestReadDoesNotAllocate(t *testing.T) {
	r := newRig(t)
	r.write("leased", 1, 1, fileSize)
	r.write("unsettled", 2, 1, fileSize)
	w := openForWriting(t, r.path("unsettled"))
	defer w.Close()
	m := r.mount()
	b := make([]byte, 4096)
	for _, name := range []string{"leased", "unsettled"} {
		ref, _ := m.open(name)
		for _, wait := range []bool{true, false} {
			n := testing.AllocsPerRun(100, func() {
				if err := m.source.Read(ref, 4096, b, wait); err != nil && err != transport.ErrWouldBlock {
					t.Error(err)
				}
			})
			if n != 0 {
				t.Errorf("%s, wait %v: %v allocations", name, wait, n)
			}
		}
	}
}

// TestOddFiles lists what is no file to read, and refuses to open it at once.
func TestOddFiles(t *testing.T) {
	r := newRig(t)
	if err := unix.Mkfifo(r.path("fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(r.path("socket"), unix.S_IFSOCK|0o644, 0); err != nil {
		t.Fatal(err)
	}
	want := map[string]uint32{"fifo": unix.S_IFIFO, "socket": unix.S_IFSOCK}
	if unix.Mknod(r.path("null"), unix.S_IFCHR|0o644, int(unix.Mkdev(1, 3))) == nil {
		want["null"] = unix.S_IFCHR
	}
	m := r.mount()
	listed, err := m.list("d", "")
	if err != nil {
		t.Fatal(err)
	}
	for name, kind := range want {
		if listed[name].GetMode()&unix.S_IFMT != kind {
			t.Errorf("%s is listed as %#o", name, listed[name].GetMode())
		}
		if _, err := m.tryOpen("d", name, nil); errno(err) != uint32(unix.ENXIO) {
			t.Errorf("open of %s: %v", name, err)
		}
	}
}

func TestSingleFile(t *testing.T) {
	path := t.TempDir() + "/one"
	if err := os.WriteFile(path, content(3, 1, fileSize), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+"-sibling", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	m := newRig(t, Export{"file", path}).mount()
	root, err := m.stat("file", "")
	if err != nil || root.Mode&unix.S_IFMT != unix.S_IFDIR {
		t.Errorf("the root is %v, %v", root, err)
	}
	listed, err := m.list("file", "")
	if err != nil || len(listed) != 1 || listed["one"].GetSize() != fileSize {
		t.Errorf("listed %v, %v", listed, err)
	}
	reply, err := m.tryOpen("file", "one", nil)
	if err != nil {
		t.Fatal(err)
	}
	m.holds(refOf(reply), 3, 1, fileSize)
	for path, want := range map[string]unix.Errno{"": unix.EISDIR, "one-sibling": unix.ENOENT, "one/x": unix.ENOTDIR} {
		if _, err := m.tryOpen("file", path, nil); errno(err) != uint32(want) {
			t.Errorf("open %q: %v, not %v", path, err, want)
		}
	}
	if err := os.WriteFile(path+".next", content(3, 2, fileSize), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".next", path); err != nil {
		t.Fatal(err)
	}
	if reply, err = m.tryOpen("file", "one", nil); err != nil {
		t.Fatal(err)
	}
	m.holds(refOf(reply), 3, 2, fileSize)
}

func TestDigest(t *testing.T) {
	const size = 3<<20 + 5
	r := newRig(t)
	r.write("f", 1, 1, size)
	m := r.mount()
	ref := m.openSettled("f")
	whole := content(1, 1, size)
	digest := func(off, n uint64) ([]byte, error) {
		reply, err := m.client.Digest(t.Context(), &wire.DigestRequest{
			Session: m.id, Handle: ref.Handle, Version: ref.Version[:], Offset: off, Length: n,
		})
		return reply.GetSha256(), err
	}
	for _, c := range [][2]uint64{{0, size}, {0, 0}, {1, 1 << 20}, {size, 0}, {size - 3, 3}} {
		got, err := digest(c[0], c[1])
		if want := sha256.Sum256(whole[c[0] : c[0]+c[1]]); err != nil || [32]byte(got) != want {
			t.Errorf("%v: %x, %v", c, got, err)
		}
	}
	for _, c := range [][2]uint64{{0, size + 1}, {size + 1, 0}, {1, 1<<64 - 1}, {1<<64 - 1, 1}} {
		if _, err := digest(c[0], c[1]); errno(err) != uint32(unix.EINVAL) {
			t.Errorf("%v: %v", c, err)
		}
	}
	openForWriting(t, r.path("f")).Close()
	if _, err := digest(0, 8); errno(err) != uint32(unix.ESTALE) {
		t.Errorf("digest of a stale file: %v", err)
	}
}
