package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func plantFile(t *testing.T, path string, size int) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, size), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestTreesMustBeAlike(t *testing.T) {
	src, place := t.TempDir(), t.TempDir()
	for _, dir := range []string{src, place} {
		plantFile(t, dir+"/a", 7)
		plantFile(t, dir+"/d/b", 0)
	}
	original, err := listTree(src)
	if err != nil || original.bytes() != 7 {
		t.Fatalf("%v, %v", original, err)
	}
	visit := func() (seen []file, err error) {
		err = original.visit(t.Context(), place, func(f file) { seen = append(seen, f) })
		return seen, err
	}
	if seen, err := visit(); err != nil || !slices.Equal(seen, []file{{"a", 7}, {"d/b", 0}}) {
		t.Errorf("saw %v, %v", seen, err)
	}
	plantFile(t, place+"/d/c", 1)
	if _, err := visit(); err == nil || !strings.Contains(err.Error(), "d/c is not in the original") {
		t.Errorf("one more: %v", err)
	}
	os.RemoveAll(place + "/d")
	if _, err := visit(); err == nil || !strings.Contains(err.Error(), "d/b is missing") {
		t.Errorf("one less: %v", err)
	}
}

func TestRatesByClass(t *testing.T) {
	tally := tally{took: [2]time.Duration{2 * time.Second, time.Second / 2}}
	staged := way{path: 1, reason: "so"}
	for _, size := range []int64{100, largeFile - 1, largeFile} {
		tally.add("f", row{kind: kind{classOf(size), staged}, files: 1, bytes: size}, nil)
	}
	tally.add("f", row{kind: kind{largeFiles, staged}, files: 1, bytes: 1e9}, []mismatch{{8, []byte("g"), []byte("w")}})
	var out strings.Builder
	if wrong := tally.print(&out); wrong != 1 {
		t.Errorf("%d wrong", wrong)
	}
	for _, want := range []string{"1 files/s", "2.00 GB/s", "4 files, 1002.1 MB, in 2.5 s", "f at 0x8: ", "mismatches: 1\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}
