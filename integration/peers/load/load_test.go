package load

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// TestMain is a worker too.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == Command {
		if err := Run(os.Args[2], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func TestJobOrder(t *testing.T) {
	if got := (Job{Count: 3}).order(); !slices.Equal(got, []int{0, 1, 2}) {
		t.Errorf("without a seed %v", got)
	}
	one, two := Job{Count: 100, Seed: 1}.order(), Job{Count: 100, Seed: 2}.order()
	if slices.Equal(one, two) || !slices.Equal(one, Job{Count: 100, Seed: 1}.order()) {
		t.Error("the order is not the seed's")
	}
	slices.Sort(one)
	if !slices.Equal(one, Job{Count: 100}.order()) {
		t.Errorf("not each once: %v", one)
	}
}

// TestSamplesShareNoExtent: nor do they end beyond the file.
func TestSamplesShareNoExtent(t *testing.T) {
	const size, extent = 100 << 20, 1 << 20
	for _, length := range []int64{4 << 10, 128 << 10} {
		j, last := Job{Seed: 1, Length: length}, int64(-1)
		for i := range SamplesIn(size) {
			off := j.sampleOffset(i)
			if off/extent <= last || off+length > size || off%2 == 0 {
				t.Fatalf("sample %d of %d bytes is at %d, after extent %d", i, length, off, last)
			}
			last = (off + length - 1) / extent
		}
	}
}

func TestDecodeReport(t *testing.T) {
	if r, err := decodeReport(`{"Items":3,"Bytes":12,"Hits":4,"Took":5,"CPU":6}`); err != nil || r != (Report{3, 12, 4, 5, 6}) {
		t.Errorf("%+v, error %v", r, err)
	}
	for _, bad := range []string{"", "{}", "warning", `{"Items":3}`} {
		if r, err := decodeReport(bad); err == nil {
			t.Errorf("%q: %+v, want an error", bad, r)
		}
	}
}

func TestSizes(t *testing.T) {
	const files = 8000
	var sum int64
	for i := range files {
		if n := Size(i); n < LeastSize || n >= MostSize || n%8 != 0 {
			t.Fatalf("file %d has %d bytes", i, n)
		}
		sum += Size(i)
	}
	if mean := sum / files; mean < 111<<10 || mean > 113<<10 {
		t.Errorf("%d bytes on average, want about 112 KiB", mean)
	}
}

// writeDir makes a directory with files of a dataset, and one for samples, on no
// mount.
func writeDir(t *testing.T, files int, samples int64) (dir string, bytes int64) {
	t.Helper()
	dir = t.TempDir()
	sizes := map[string]int64{File: samples}
	for i := range files {
		sizes[Name(i)] = Size(i)
		bytes += Size(i)
	}
	for name, size := range sizes {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, bytes
}

func TestCrewWorksTogether(t *testing.T) {
	dir, bytes := writeDir(t, 8, 8<<20)
	c, err := Hire(t.Context(), Job{Kind: ReadFiles, Dir: dir, Threads: 3, Count: 8, Seed: 1},
		Job{Kind: ReadSamples, Dir: dir, Threads: 2, Count: SamplesIn(8 << 20), Seed: 1, Length: 4 << 10})
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Work(t.Context())
	if err != nil || r.Items != 8+4 || r.Bytes != bytes+4*4<<10 || r.Hits != 0 || r.Took <= 0 || r.CPU <= 0 {
		t.Errorf("%+v, error %v", r, err)
	}
	if err := c.Dismiss(); err != nil {
		t.Error(err)
	}
}

func TestCrewTellsWhatFailed(t *testing.T) {
	for kind, want := range map[Kind]string{ReadFiles: Name(0), ReadSamples: File, FetchFiles: "not an hbmfs mount", FetchHits: "not an hbmfs mount", "dig": "no work"} {
		c, err := Hire(t.Context(), Job{Kind: kind, Dir: t.TempDir(), Threads: 1, Count: 1})
		if err == nil {
			_, err = c.Work(t.Context())
			if err := c.Dismiss(); err != nil {
				t.Error(err)
			}
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", kind, err, want)
		}
	}
}

// TestCrewIsDismissed: those who wait at the gate end.
func TestCrewIsDismissed(t *testing.T) {
	dir, _ := writeDir(t, 1, 0)
	c, err := Hire(t.Context(), Job{Kind: ReadFiles, Dir: dir, Threads: 1, Count: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Dismiss(); err != nil {
		t.Error(err)
	}
	select {
	case <-c.workers[0].Done():
	default:
		t.Error("a worker lives on")
	}
}

func TestShortFileIsAnError(t *testing.T) {
	dir, _ := writeDir(t, 2, 0)
	if err := os.Truncate(filepath.Join(dir, Name(1)), 100); err != nil {
		t.Fatal(err)
	}
	if err := Do(Job{Kind: ReadFiles, Dir: dir, Threads: 1, Count: 2}); err == nil || !strings.Contains(err.Error(), Name(1)) {
		t.Errorf("got %v", err)
	}
}
