package loader

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// little is a workload that is made quickly.
var little = Workload{id: 15, Name: "little", Files: 10, Size: 5000, Spread: 1000, Batch: 3}

// makeLittle makes it, and returns how many bytes were written.
func makeLittle(t *testing.T, dir string, w Workload) (*Set, int64) {
	t.Helper()
	var wrote int64
	s, err := Make(t.Context(), dir, w, Making{Started: func(_ int, size int64) { wrote = size }})
	if err != nil {
		t.Fatal(err)
	}
	return s, wrote
}

// checkFiles compares all words of all files.
func checkFiles(t *testing.T, s *Set) {
	t.Helper()
	for i, f := range s.Files {
		data, err := os.ReadFile(s.path(s.Dir, i))
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(data)) != f.Size {
			t.Errorf("%s has %d bytes, want %d", f.Name, len(data), f.Size)
		}
		if err := s.Workload.check(data, i, 0, true); err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
}

// TestMakeResumes: what is there with its size stays, what is missing or cut off is
// made, and more files join those that are there.
func TestMakeResumes(t *testing.T) {
	dir := t.TempDir()
	s, wrote := makeLittle(t, dir, little)
	checkFiles(t, s)
	if wrote != s.Bytes() {
		t.Errorf("%d bytes were written of %d", wrote, s.Bytes())
	}
	if _, wrote := makeLittle(t, dir, little); wrote != 0 {
		t.Errorf("all is there, and %d bytes are written", wrote)
	}
	if err := os.Remove(s.path(s.Dir, 3)); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(s.path(s.Dir, 5), 100); err != nil {
		t.Fatal(err)
	}
	more := little
	more.Files = 12
	s, wrote = makeLittle(t, dir, more)
	checkFiles(t, s)
	if want := s.Files[3].Size + s.Files[5].Size + s.Files[10].Size + s.Files[11].Size; wrote != want {
		t.Errorf("%d bytes were written, want %d", wrote, want)
	}
	makeLittle(t, dir, little) // fewer again
	if m, err := readMark(s.Dir); err != nil || m.Files != 12 {
		t.Errorf("the mark has %+v, %v", m, err)
	}
}

// TestMakeBrokenOff: what an end of the context left is found unfinished, and made
// complete.
func TestMakeBrokenOff(t *testing.T) {
	dir, why := t.TempDir(), errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := Make(ctx, dir, little, Making{Wrote: func(int64) { cancel(why) }})
	if !errors.Is(err, why) {
		t.Fatalf("%v, want its cause", err)
	}
	if _, err := Find(t.Context(), dir, little, 1); !errors.Is(err, ErrNoSet) {
		t.Errorf("found unfinished: %v", err)
	}
	s, _ := makeLittle(t, dir, little)
	checkFiles(t, s)
}

// TestMakeKeepsOff: what somebody else put there is not touched.
func TestMakeKeepsOff(t *testing.T) {
	dir := t.TempDir()
	theirs := filepath.Join(dir, little.Name, "0000", "0000000")
	if err := os.MkdirAll(filepath.Dir(theirs), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(theirs, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Make(t.Context(), dir, little, Making{}); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("%v", err)
	}
	if data, err := os.ReadFile(theirs); err != nil || string(data) != "precious" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestNoRoom(t *testing.T) {
	if err := checkRoom(t.TempDir(), math.MaxInt64/2, 1); !errors.Is(err, ErrNoRoom) || !strings.Contains(err.Error(), "4.61 EB more") {
		t.Errorf("%v, want ErrNoRoom", err)
	}
	for n, want := range map[int64]string{0: "0 bytes", 999: "999 bytes", 1000: "1 kB", 322_957: "323 kB", 999_999: "1 MB", 12_345_678: "12.3 MB"} {
		if got := Amount(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}

// TestFind: a data set that was made is found from above and at its place, with as
// many files as are asked for; other files are taken as they are.
func TestFind(t *testing.T) {
	dir := t.TempDir()
	makeLittle(t, dir, little)
	for _, place := range []string{dir, filepath.Join(dir, little.Name)} {
		for asked, want := range map[int]int{8: 8, 10: 10, 1000: 10} {
			w := little
			w.Files = asked
			s, err := Find(t.Context(), place, w, 1)
			if err != nil || len(s.Files) != want || !s.Tagged {
				t.Fatalf("%s, %d files: %+v, %v", place, asked, s, err)
			}
			checkFiles(t, s)
		}
	}
	other := little
	other.Name, other.Files = "other", 3 // which is no matter of files that are there
	for scale, want := range map[float64]int{1: 10, 0.9: 9, 0.1: MinFiles} {
		s, err := Find(t.Context(), filepath.Join(dir, little.Name, "0000"), other, scale)
		if err != nil || len(s.Files) != want || s.Found != 10 || s.Tagged || s.Files[0].Name != "0000000" {
			t.Errorf("scale %v: %+v, %v", scale, s, err)
		}
	}
	if _, err := Find(t.Context(), filepath.Join(dir, little.Name), other, 1); !errors.Is(err, ErrNoSet) {
		t.Errorf("another workload's data set: %v", err)
	}
	if _, err := Find(t.Context(), filepath.Join(dir, "none"), other, 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
}

func FuzzMark(f *testing.F) {
	f.Add([]byte(`{"format":1,"workload":"retinanet","files":8}`))
	f.Add([]byte(`{"format":1,"files":-1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var m mark
		if err := m.parse(text, "x"); err == nil && (m.Files < 0 || m.Files > maxFiles || m.Format != markFormat) {
			t.Errorf("%q is accepted as %+v", text, m)
		}
	})
}
