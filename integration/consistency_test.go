package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
)

// writers change a file that holds tagged data of version 1 into version 2, in
// every way there is.
var writers = map[string]func(t *testing.T, path string, size int64){
	"rename over": func(t *testing.T, path string, size int64) {
		writeTagged(t, path+".new", 1, 2, size)
		must(t, os.Rename(path+".new", path))
	},
	"write in place": func(t *testing.T, path string, size int64) {
		f := mustOpen(t, path, os.O_WRONLY)
		_, err := f.WriteAt(tagged(1, 2, 0, size), 0)
		must(t, errors.Join(err, f.Close()))
	},
	"store through a shared mapping": func(t *testing.T, path string, size int64) {
		f := mustOpen(t, path, os.O_RDWR)
		m, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		must(t, err)
		must(t, f.Close())
		copy(m, tagged(1, 2, 0, size))
		must(t, unix.Munmap(m))
	},
	"truncate and regrow": func(t *testing.T, path string, size int64) {
		must(t, os.Truncate(path, 0))
		writeTagged(t, path, 1, 2, size)
	},
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustOpen(t *testing.T, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flags, 0)
	must(t, err)
	return f
}

// sources are the two ways to mount: over the network, and embedded.
func sources(t *testing.T, dir string) map[string]string {
	_, addr := startTarget(t, "127.0.0.1:0", "data="+dir)
	return map[string]string{"tcp": addr + "/data", "embedded": dir}
}

// TestChangedFile: a program that has a file open, on both paths, while each
// kind of writer changes it, right after the open and with no pause: well within
// a clock tick.
func TestChangedFile(t *testing.T) {
	const size = 3<<20 + 12345
	src := t.TempDir()
	for via, source := range sources(t, src) {
		m := startMount(t, source)
		for how, change := range writers {
			t.Run(via+"/"+how, func(t *testing.T) {
				name := fmt.Sprintf("%s-%s", via, how)
				path := filepath.Join(src, name)
				writeTagged(t, path, 1, 1, size)
				f, err := client.Open(m.path(name))
				must(t, err)
				defer f.Close()
				old := mustOpen(t, m.path(name), os.O_RDONLY)
				defer old.Close()
				before, err := f.Fetch(context.Background(), 0, 1<<20, client.FetchOptions{})
				must(t, err)
				plain, err := io.ReadAll(old)
				must(t, err)
				checkTagged(t, plain, 1, 1, 0)

				change(t, path, size)

				checkOldFetch(t, f, before, how)
				checkOldFD(t, old)
				checkNewOpen(t, m.path(name), size)
			})
		}
	}
}

// checkOldFetch: the lease that was taken before the change still holds version
// 1; nothing new comes from the file that was opened then, unless it was
// replaced, and then it is still version 1.
func checkOldFetch(t *testing.T, f *client.File, before *client.Lease, how string) {
	t.Helper()
	for _, s := range before.Segments {
		b, err := f.Mount().Bytes(s)
		must(t, err)
		checkTagged(t, b, 1, 1, s.FileOffset)
	}
	after, err := f.Fetch(context.Background(), 1<<20, 1<<20, client.FetchOptions{})
	if how != "rename over" {
		if !errors.Is(err, unix.ESTALE) {
			t.Fatalf("FETCH of a file that changed: %v, want ESTALE", err)
		}
		return
	}
	must(t, err)
	for _, s := range after.Segments {
		b, err := f.Mount().Bytes(s)
		must(t, err)
		checkTagged(t, b, 1, 1, s.FileOffset)
	}
}

// checkOldFD: what an old descriptor reads is of version 1 or an error.
func checkOldFD(t *testing.T, old *os.File) {
	t.Helper()
	b := make([]byte, 1<<20)
	n, err := old.ReadAt(b, 0)
	if err != nil && !errors.Is(err, unix.ESTALE) {
		t.Fatalf("read from an old descriptor: %v, want version 1 or ESTALE", err)
	}
	checkTagged(t, b[:n], 1, 1, 0)
}

func checkNewOpen(t *testing.T, path string, size int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	if int64(len(b)) != size {
		t.Fatalf("a new open reads %d bytes, want %d", len(b), size)
	}
	checkTagged(t, b, 1, 2, 0)
	got := fetchAll(t, path, 0, size)
	if int64(len(got)) != size {
		t.Fatalf("a new open fetches %d bytes, want %d", len(got), size)
	}
	checkTagged(t, got, 1, 2, 0)
}

// TestOpenWriter: while somebody has the file open for writing, FETCH says that
// it is unsettled, keeps nothing, and is refused by a strict mount. A store
// through the mapping after the mount read it shows at the next open.
func TestOpenWriter(t *testing.T) {
	const size = 1 << 20
	src := t.TempDir()
	path := filepath.Join(src, "f")
	writeTagged(t, path, 1, 1, size)
	m := startMount(t, src)
	strict := startMount(t, src, "--strict")
	w := mustOpen(t, path, os.O_RDWR)
	mapping, err := unix.Mmap(int(w.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	copy(mapping, tagged(1, 2, 0, size/2)) // dirties the pages, moves mtime

	f, err := client.Open(m.path("f"))
	must(t, err)
	defer f.Close()
	r, err := f.Fetch(context.Background(), 0, size, client.FetchOptions{})
	must(t, err)
	if !r.Unsettled {
		t.Error("FETCH with an open writer is not marked unsettled")
	}
	if err := f.Release(r.Handle); err != nil {
		t.Error(err)
	}
	if s := m.stats(); s.Cache.Resident.Bytes != 0 {
		t.Errorf("%d bytes of an unsettled file were kept", s.Cache.Resident.Bytes)
	}
	fs, err := client.Open(strict.path("f"))
	must(t, err)
	defer fs.Close()
	if _, err := fs.Fetch(context.Background(), 0, size, client.FetchOptions{}); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("FETCH from a strict mount: %v, want EAGAIN", err)
	}
	_, err = os.ReadFile(m.path("f"))
	must(t, err)

	copy(mapping, tagged(1, 3, 0, size)) // no page is clean: times stay as they are
	must(t, unix.Munmap(mapping))
	must(t, w.Close())
	b, err := os.ReadFile(m.path("f"))
	must(t, err)
	checkTagged(t, b, 1, 3, 0)
	checkTagged(t, fetchAll(t, m.path("f"), 0, size), 1, 3, 0)
}

// TestTruncatedUnderReader: what was cut off is an error, never zeros.
func TestTruncatedUnderReader(t *testing.T) {
	const size = 8 << 20
	src := t.TempDir()
	for via, source := range sources(t, src) {
		t.Run(via, func(t *testing.T) {
			m := startMount(t, source)
			path := filepath.Join(src, via)
			writeTagged(t, path, 1, 1, size)
			f := mustOpen(t, m.path(via), os.O_RDONLY)
			defer f.Close()
			head := make([]byte, 4096)
			_, err := f.ReadAt(head, 0)
			must(t, err)
			must(t, os.Truncate(path, 4096))
			b := make([]byte, 4096)
			n, err := f.ReadAt(b, size-4096)
			if err == nil {
				checkTagged(t, b[:n], 1, 1, size-4096) // read ahead before the cut
			} else if !errors.Is(err, unix.ESTALE) {
				t.Errorf("read past the cut: %v, want ESTALE", err)
			}
		})
	}
}
