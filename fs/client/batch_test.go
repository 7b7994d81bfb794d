package client

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/fs/uapi"
)

// fakeBatch answers BATCH: a segment for each entry, but for those that are called none.
func fakeBatch(t *testing.T, calls *int) func(uint32, []byte) syscall.Errno {
	return func(cmd uint32, arg []byte) syscall.Errno {
		*calls++
		r, err := uapi.DecodeBatch(cmd, arg)
		if err != nil {
			t.Errorf("the client asked what the ABI refuses: %v", err)
			return syscall.EINVAL
		}
		entries := make([]uapi.BatchEntry, r.EntryCount)
		var segments []uapi.Segment
		for i := range entries {
			e := r.Entry(i)
			if string(r.NameOf(&e)) == "none" {
				e.Error = uint16(syscall.ENOENT)
				r.Failed++
			} else {
				e.Segment, e.SegmentCount, e.Fetched = uint16(len(segments)), 1, e.Length
				segments = append(segments, uapi.Segment{Region: fakeRegion, FileOffset: e.Offset, Length: e.Length})
			}
			entries[i] = e
		}
		r.Handle = 77
		out := make([]byte, len(arg))
		r.Encode(out, entries, segments)
		copy(arg, out)
		return 0
	}
}

func TestFetchFiles(t *testing.T) {
	var calls int
	d := &Dir{f: *newFakeFile(fakeBatch(t, &calls))}
	var wants []Want
	for i := range 400 {
		name := strings.Repeat("x", i%30+1)
		if i%50 == 3 {
			name = "none"
		}
		wants = append(wants, Want{Name: name, Offset: int64(i), Length: 10})
	}
	var b Batch
	for done := 0; done < len(wants); {
		if err := d.FetchFiles(t.Context(), &b, wants[done:], BatchOptions{}); err != nil || len(b.Results) == 0 {
			t.Fatalf("%d results, %v", len(b.Results), err)
		}
		failed := 0
		for i, r := range b.Results {
			w := wants[done+i]
			switch {
			case w.Name == "none":
				failed++
				if !errors.Is(r.Err, unix.ENOENT) || !strings.Contains(r.Err.Error(), `"none"`) || !strings.Contains(r.Err.Error(), "there is no such file") {
					t.Errorf("%v", r.Err)
				}
			case r.Err != nil || r.Fetched != 10 || len(r.Segments) != 1 || r.Segments[0].FileOffset != w.Offset:
				t.Errorf("%+v: %+v", w, r)
			}
		}
		if b.Handle != 77 || b.Failed != failed {
			t.Errorf("handle %d, %d failed, want %d", b.Handle, b.Failed, failed)
		}
		done += len(b.Results)
	}
	if calls != 3 {
		t.Errorf("%d calls", calls)
	}
}

// TestBatchNotSent: what can't be asked for is not, and the last batch is known still.
func TestBatchNotSent(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	for _, c := range []struct {
		ctx   context.Context
		wants []Want
		opts  BatchOptions
		want  error
	}{
		{t.Context(), nil, BatchOptions{}, unix.EINVAL},
		{t.Context(), []Want{{Length: 1}}, BatchOptions{Segments: -1}, unix.EINVAL},
		{t.Context(), []Want{{Length: 1}}, BatchOptions{Segments: uapi.BatchMax}, unix.EINVAL},
		{t.Context(), []Want{{Name: strings.Repeat("x", uapi.BatchMax)}}, BatchOptions{}, unix.EINVAL},
		{ended, []Want{{Length: 1}}, BatchOptions{}, context.Canceled},
	} {
		f := newFakeFile(func(uint32, []byte) syscall.Errno { t.Error("asked"); return 0 })
		b := Batch{Handle: 5, Failed: 1, Results: make([]Result, 3)}
		c.opts.Release = 5
		if err := f.FetchRanges(c.ctx, &b, c.wants, c.opts); !errors.Is(err, c.want) || b.Handle != 5 || b.Failed != 1 || len(b.Results) != 3 {
			t.Errorf("%d wants, %+v: %v, %+v", len(c.wants), c.opts, err, b)
		}
	}
}

// TestBatchErrors: what a mount has not begun has released nothing.
func TestBatchErrors(t *testing.T) {
	for errno, c := range map[syscall.Errno]struct {
		text   string
		handle uint64
	}{
		syscall.EOPNOTSUPP: {"open one of a dataset", 0},
		syscall.ENOTTY:     {"knows this call", 0},
		syscall.ESTALE:     {"the directory was replaced", 0},
		syscall.EACCES:     {"can't tell who calls", 0},
		syscall.ENOENT:     {"no such handle", 0},
		syscall.EINVAL:     {"has a name", 1},
		syscall.E2BIG:      {"newer hbmfs", 1},
	} {
		b := Batch{Handle: 1, Results: make([]Result, 3)}
		err := newFakeFile(fails(errno)).FetchRanges(t.Context(), &b, []Want{{Length: 1}}, BatchOptions{Release: 1})
		if !errors.Is(err, errno) || !strings.Contains(err.Error(), c.text) || b.Handle != c.handle || len(b.Results) != int(3*c.handle) {
			t.Errorf("%v, %+v", err, b)
		}
	}
}

// TestBatchEndedMeanwhile: a call that was interrupted has released its handle.
func TestBatchEndedMeanwhile(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	defer end()
	f := newFakeFile(func(uint32, []byte) syscall.Errno { end(); return syscall.EINTR })
	b := Batch{Handle: 5}
	if err := f.FetchRanges(ctx, &b, []Want{{Length: 1}}, BatchOptions{Release: 5}); !errors.Is(err, context.Canceled) || b.Handle != 0 {
		t.Errorf("%v, %+v", err, b)
	}
}

// TestBatchProtocol: an answer that the ABI does not allow is no slice out of bounds.
func TestBatchProtocol(t *testing.T) {
	for name, spoil := range map[string]func(arg []byte){
		"segments":       func(arg []byte) { arg[40] = 0xff },
		"entries":        func(arg []byte) { arg[8] = 7 },
		"an entry's own": func(arg []byte) { arg[uapi.BatchSize+50] = 9 },
		"bytes":          func(arg []byte) { arg[uapi.BatchSize+23] = 0xff },
	} {
		var calls int
		answer := fakeBatch(t, &calls)
		f := newFakeFile(func(cmd uint32, arg []byte) syscall.Errno {
			errno := answer(cmd, arg)
			spoil(arg)
			return errno
		})
		var b Batch
		if err := f.FetchRanges(t.Context(), &b, []Want{{Length: 1}}, BatchOptions{}); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
