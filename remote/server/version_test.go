package server

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

const fileSize = 64 << 10

// changes are the ways to put version 2 in the place of version 1.
var changes = map[string]struct {
	change func(t *testing.T, path string, next []byte)
	inode  bool // the old content lives on, in its own inode
}{

	"rename over": {inode: true, change: func(t *testing.T, path string, next []byte) {
		if err := errors.Join(os.WriteFile(path+".next", next, 0o644), os.Rename(path+".next", path)); err != nil {
			t.Fatal(err)
		}
	}},
	"write in place": {change: func(t *testing.T, path string, next []byte) {
		w := openForWriting(t, path)
		defer w.Close()
		if _, err := w.WriteAt(next, 0); err != nil {
			t.Fatal(err)
		}
	}},
	"store through a shared mapping": {change: func(t *testing.T, path string, next []byte) {
		w := openForWriting(t, path)
		m, err := unix.Mmap(int(w.Fd()), 0, len(next), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		w.Close() // the mapping is a writer of its own
		if err != nil {
			t.Fatal(err)
		}
		copy(m, next)
		if err := unix.Munmap(m); err != nil {
			t.Fatal(err)
		}
	}},
	"truncate and regrow": {change: func(t *testing.T, path string, next []byte) {
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
		w := openForWriting(t, path)
		defer w.Close()
		if _, err := w.Write(next); err != nil {
			t.Fatal(err)
		}
	}},
}

func openForWriting(t testing.TB, path string) *os.File {
	t.Helper()
	w, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestEveryChangeIsAnotherVersion changes files of the same size as soon as they
// were written and opened: within a tick of the clock that stamps them.
func TestEveryChangeIsAnotherVersion(t *testing.T) {
	for name, c := range changes {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			m := r.mount()
			for range 3 {
				r.write("f", 1, 1, fileSize)
				old := m.openSettled("f")
				m.holds(old, 1, 1, fileSize)
				c.change(t, r.path("f"), content(1, 2, fileSize))
				told := m.told(old)

				attr, err := m.stat("d", "f")
				if err != nil || transport.Version(attr.Version) == old.Version {
					t.Fatalf("the same version after the change: %v, %v", attr, err)
				}
				if _, _, err := m.tryOpen("d", "f", &old.Version); errno(err) != uint32(unix.ESTALE) {
					t.Errorf("open of the old version: %v", err)
				}
				fresh := m.openSettled("f")
				m.holds(fresh, 1, 2, fileSize)
				if c.inode {
					m.holds(old, 1, 1, fileSize)
					continue
				}
				if !told {
					t.Error("the writer went on before the mount was told")
				}
				if _, err := m.read(old, 0, fileSize); !errors.Is(err, transport.ErrStale) {
					t.Errorf("read of the old version: %v", err)
				}
			}
		})
	}
}

func TestStatListAndOpenAgree(t *testing.T) {
	r := newRig(t)
	r.write("f", 1, 1, 100)
	m := r.mount()
	ref, reply := m.open("f")
	attr, err := m.stat("d", "f")
	if err != nil {
		t.Fatal(err)
	}
	listed, err := m.list("d", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range [][]byte{attr.Version, listed["f"].Version} {
		if !bytes.Equal(v, reply.Attr.Version) {
			t.Errorf("version %x, open said %x", v, reply.Attr.Version)
		}
	}
	if again, _ := m.open("f"); again.Version != ref.Version {
		t.Error("another version without a change")
	}
}

// TestReadsAreNeverMixed reads a file over and over while a writer replaces its
// content in place: what one handle gives is one version, whole, or an error.
func TestReadsAreNeverMixed(t *testing.T) {
	const size, versions = 1 << 20, 20
	r := newRig(t)
	r.write("f", 1, 1, size)
	m := r.mount()
	reading := make(chan struct{}) // a handle has given its first bytes
	written := make(chan struct{})
	go func() {
		defer close(written)
		for v := uint64(2); v <= versions; v++ {
			<-reading
			f, err := os.OpenFile(r.path("f"), os.O_WRONLY, 0)
			if err != nil {
				t.Error(err)
				return
			}
			f.WriteAt(content(1, v, size), 0)
			f.Close()
		}
	}()
	latest := uint64(0)
	for latest < versions-1 {
		ref, reply := m.open("f")
		if reply.Settled {
			err := readUntilStale(m, ref, size, func(v uint64) {
				switch {
				case v < latest:
					t.Errorf("version %d came back after %d", v, latest)
				case v > latest: // or a signal made the writer's open begin again
					latest = v
					reading <- struct{}{}
				}
			})
			if !errors.Is(err, transport.ErrStale) {
				t.Fatal(err)
			}
		}
		m.close(ref)
	}
	<-written
	m.holds(m.openSettled("f"), 1, versions, size)
}

// readUntilStale reads a whole file until that fails. All of the reads must give one
// version, which found is told of once the first has.
func readUntilStale(m *mount, ref transport.FileRef, size int, found func(version uint64)) error {
	first, err := m.read(ref, 0, 8)
	if err != nil {
		return err
	}
	version := uint64(first[4])
	found(version)
	for {
		got, err := m.read(ref, 0, size)
		if err != nil {
			return err
		}
		if err := transporttest.Check(got, tag(1, version), 0); err != nil {
			return err
		}
	}
}

func TestTruncatedFileIsStale(t *testing.T) {
	r := newRig(t)
	r.write("f", 1, 1, fileSize)
	m := r.mount()
	ref := m.openSettled("f")
	if err := os.Truncate(r.path("f"), 100); err != nil {
		t.Fatal(err)
	}
	for _, off := range []int64{0, 100, fileSize - 8} {
		if _, err := m.read(ref, off, 8); !errors.Is(err, transport.ErrStale) {
			t.Errorf("read at %d after the truncation: %v", off, err)
		}
	}
}

func TestMetadataIsAnotherVersionOfSettledBytes(t *testing.T) {
	r := newRig(t)
	r.write("f", 1, 1, fileSize)
	m := r.mount()
	old := m.openSettled("f")
	if err := os.Chmod(r.path("f"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.holds(old, 1, 1, fileSize)
	if fresh := m.openSettled("f"); fresh.Version == old.Version {
		t.Error("the change time is part of the version")
	}
}
