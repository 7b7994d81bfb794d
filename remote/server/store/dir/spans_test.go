package dir

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/remote/server/store"
	"hbmfs/transport"
)

func spans(o *opened, off int64) ([]uint64, int64, error) {
	return o.Object.(store.Sparse).Spans(context.Background(), off)
}

// writeSpans makes a file of that size with data in the given spans.
func writeSpans(t *testing.T, path string, size int64, data []uint64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := 0; i < len(data) && err == nil; i += 2 {
		_, err = f.WriteAt(content(1, 1, int(data[i+1]-data[i])), int64(data[i]))
	}
	if err == nil {
		err = f.Truncate(size)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		t.Fatal(err)
	}
	if to, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_HOLE); err == nil && to == size && len(data) != 2 {
		unsupported(t, "the file system of "+path+" has no holes")
	}
}

func TestSpans(t *testing.T) {
	const block, size = 64 << 10, 8 << 30 // larger than any file system's blocks
	r := newRig(t)
	for name, data := range map[string][]uint64{
		"hole":  nil,
		"full":  {0, 3 * block},
		"ends":  {0, block, size - block, size},
		"inner": {5 * block, 6 * block, 1 << 32, 1<<32 + block},
	} {
		end := int64(size)
		if name == "full" {
			end = 3 * block
		}
		writeSpans(t, r.path(name), end, data)
		o := r.open(name)
		got, to, err := spans(o, 0)
		if err != nil || !slices.Equal(got, data) || to != end {
			t.Errorf("%s: %v to %d, %v, want %v", name, got, to, err, data)
		}
		if got, to, err = spans(o, end); err != nil || len(got) != 0 || to != end {
			t.Errorf("%s, at its end: %v to %d, %v", name, got, to, err)
		}
		if _, _, err = spans(o, end+1); !errors.Is(err, transport.ErrRange) {
			t.Errorf("%s, past its end: %v", name, err)
		}
		o.Close()
	}
}

// TestSpansInParts: a fragmented file is told part by part.
func TestSpansInParts(t *testing.T) {
	const block = 64 << 10
	r := newRig(t)
	var want []uint64
	for i := range uint64(maxSpans + maxSpans/2) {
		want = append(want, 2*i*block, 2*i*block+8)
	}
	size := int64(2 * len(want) / 2 * block)
	writeSpans(t, r.path("f"), size, want)
	o := r.open("f")
	defer o.Close()
	var starts []uint64
	calls := 0
	for at := int64(0); at < size; calls++ {
		data, to, err := spans(o, at)
		if err != nil || to <= at || len(data) > 2*maxSpans {
			t.Fatalf("from %d: %d bounds, to %d, %v", at, len(data), to, err)
		}
		for i := 0; i < len(data); i += 2 {
			starts = append(starts, data[i])
		}
		at = to
	}
	if calls != 2 || len(starts) != len(want)/2 {
		t.Fatalf("%d calls, %d spans of %d", calls, len(starts), len(want)/2)
	}
	for i, start := range starts {
		if start != want[2*i] {
			t.Fatalf("span %d begins at %d, not %d", i, start, want[2*i])
		}
	}
}

// TestSpansOfAChangedFile: they are never another version's.
func TestSpansOfAChangedFile(t *testing.T) {
	r := newRig(t)
	writeSpans(t, r.path("f"), 1<<20, []uint64{0, 8})
	o := r.openSettled("f")
	defer o.Close()
	r.write("f", 1, 2, fileSize)
	if _, _, err := spans(o, 0); !errors.Is(err, transport.ErrStale) {
		t.Errorf("%v, want ErrStale", err)
	}
}
