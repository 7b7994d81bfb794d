package integration

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// dirent is an entry, and the offset that the next one is at.
type dirent struct {
	name string
	next int64
}

// getdents returns what one call has at the offset of dir.
func getdents(t *testing.T, dir *os.File) []dirent {
	t.Helper()
	buf := make([]byte, 4096)
	n, err := unix.Getdents(int(dir.Fd()), buf)
	must(t, err)
	var all []dirent
	for buf = buf[:n]; len(buf) > 0; { // struct linux_dirent64
		size := binary.NativeEndian.Uint16(buf[16:])
		all = append(all, dirent{unix.ByteSliceToString(buf[19:size]), int64(binary.NativeEndian.Uint64(buf[8:]))})
		buf = buf[size:]
	}
	return all
}

// TestSeekdir: an offset leads to the same entry again, in any order, also by
// another descriptor, which has not read the directory, and after a rewind.
func TestSeekdir(t *testing.T) {
	src := t.TempDir()
	for i := range 1000 {
		must(t, os.WriteFile(filepath.Join(src, fmt.Sprintf("%04d", i)), nil, 0o644))
	}
	m := startMount(t, src)
	dir := mustOpen(t, m.dir, os.O_RDONLY)
	defer dir.Close()
	all := getdents(t, dir)
	for more := all; len(more) > 0; all = append(all, more...) {
		more = getdents(t, dir)
	}
	if len(all) != 1002 {
		t.Fatalf("%d entries", len(all))
	}
	check := func(dir *os.File, i int) {
		t.Helper()
		_, err := dir.Seek(all[i].next, 0)
		must(t, err)
		if got := getdents(t, dir); len(got) == 0 || got[0] != all[i+1] {
			t.Errorf("after entry %d: %+v, want %+v first", i, got[:min(1, len(got))], all[i+1])
		}
	}
	for i := len(all) - 2; i >= 0; i -= 37 {
		check(dir, i)
	}
	_, err := dir.Seek(0, 0)
	must(t, err)
	check(dir, 500)
	other := mustOpen(t, m.dir, os.O_RDONLY)
	defer other.Close()
	check(other, 700)
	for _, past := range []int64{all[len(all)-1].next, all[len(all)-1].next + 1, math.MaxInt64} {
		if _, err := other.Seek(past, 0); err != nil {
			t.Errorf("seek to %d: %v", past, err)
		}
		if got := getdents(t, other); len(got) != 0 {
			t.Errorf("at %d: %+v", past, got)
		}
	}
}

// TestSync: there is nothing to write back, which is no error.
func TestSync(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, 5000)
	m := startMount(t, src)
	for _, path := range []string{m.dir, m.path("1")} {
		f := mustOpen(t, path, os.O_RDONLY)
		for range 2 {
			for what, err := range map[string]error{"fsync": f.Sync(), "fdatasync": unix.Fdatasync(int(f.Fd())), "syncfs": unix.Syncfs(int(f.Fd()))} {
				if err != nil {
					t.Errorf("%s of %s: %v", what, path, err)
				}
			}
		}
		must(t, f.Close())
	}
}
