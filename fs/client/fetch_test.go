package client

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/fs/uapi"
)

func TestFetch(t *testing.T) {
	f := newFakeFile(func(cmd uint32, arg []byte) syscall.Errno { return fakeFetch(t, cmd, arg) })
	got, err := f.Fetch(t.Context(), fakeExtent-8, fakeExtent, FetchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := &Lease{Handle: 77, Fetched: fakeExtent, FileSize: fakeSize, Path: uapi.PathStaged, Why: uapi.WhyNoDirect,
		call: got.call, Segments: []Segment{
			{Region: fakeRegion, RegionOffset: fakeExtent - 8, FileOffset: fakeExtent - 8, Length: 8, Path: uapi.PathStaged, Hit: true},
			{Region: fakeRegion, RegionOffset: fakeExtent, FileOffset: fakeExtent, Length: fakeExtent - 8, Path: uapi.PathStaged, Hit: true},
		}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestFetchSendsItsOptions(t *testing.T) {
	var got uapi.Fetch
	var room int
	f := newFakeFile(func(cmd uint32, arg []byte) (errno syscall.Errno) {
		var err error
		if got, room, err = uapi.DecodeFetch(cmd, arg); err != nil {
			t.Error(err)
		}
		return 0
	})
	if _, err := f.Fetch(t.Context(), 1<<40, 1<<41, FetchOptions{Device: 3, MaxSegments: 7, Release: 1 << 50, Loan: true, Access: Sequential, Wait: time.Hour}); err != nil {
		t.Fatal(err)
	}
	want := uapi.Fetch{Size: uint32(uapi.FetchSize), Flags: uapi.FetchLoan | uapi.FetchSequential | uapi.FetchWait,
		Offset: 1 << 40, Length: 1 << 41, Device: 3, Release: 1 << 50, WaitMS: got.WaitMS}
	if got != want || room != 7 {
		t.Errorf("asked for %+v with room for %d", got, room)
	}
}

func TestFetchInPartsAndToTheEnd(t *testing.T) {
	f := newFakeFile(func(cmd uint32, arg []byte) syscall.Errno { return fakeFetch(t, cmd, arg) })
	var x Lease
	at := int64(0)
	for rooms := 1; ; rooms++ {
		if err := f.FetchInto(t.Context(), &x, at, math.MaxInt64-at, FetchOptions{MaxSegments: rooms}); err != nil {
			t.Fatal(err)
		}
		for _, s := range x.Segments {
			if s.FileOffset != at {
				t.Fatalf("segment at %d, want %d", s.FileOffset, at)
			}
			at += s.Length
		}
		if x.Cursor == 0 {
			break
		}
		if x.Cursor != at || len(x.Segments) != rooms {
			t.Fatalf("cursor %d after %d, %d segments in the room for %d", x.Cursor, at, len(x.Segments), rooms)
		}
	}
	if at != fakeSize {
		t.Errorf("ended at %d of %d", at, fakeSize)
	}
	if err := f.FetchInto(t.Context(), &x, fakeSize, 1, FetchOptions{}); err != nil || x.Handle != 0 || x.Fetched != 0 || len(x.Segments) != 0 {
		t.Errorf("past the end: %+v, %v", x, err)
	}
}

// TestLoanIsToldApart: what was granted is what the answer says, whatever was
// asked for.
func TestLoanIsToldApart(t *testing.T) {
	for _, asked := range []bool{false, true} {
		for _, granted := range []uint32{0, uapi.FetchUnsettled, uapi.FetchLoan, uapi.FetchLoan | uapi.FetchUnsettled} {
			f := newFakeFile(func(cmd uint32, arg []byte) syscall.Errno {
				head, _, err := uapi.DecodeFetch(cmd, arg)
				if err != nil || (head.Flags == uapi.FetchLoan) != asked {
					t.Errorf("asked with flags %#x, %v", head.Flags, err)
				}
				head.Flags = granted
				uapi.EncodeFetch(arg, &head)
				return 0
			})
			x, err := f.Fetch(t.Context(), 0, 1, FetchOptions{Loan: asked})
			if err != nil || x.Loan != (granted&uapi.FetchLoan != 0) || x.Unsettled != (granted&uapi.FetchUnsettled != 0) {
				t.Errorf("flags %#x: %+v, %v", granted, x, err)
			}
		}
	}
}

func TestFetchAgainAfterASignal(t *testing.T) {
	var releases []uint64
	f := newFakeFile(func(cmd uint32, arg []byte) syscall.Errno {
		req, _, err := uapi.DecodeFetch(cmd, arg)
		if err != nil {
			t.Error(err)
		}
		releases = append(releases, req.Release)
		errno := fakeFetch(t, cmd, arg) // overwrites the request
		if len(releases) < 3 {
			return syscall.EINTR
		}
		return errno
	})
	x, err := f.Fetch(t.Context(), 0, 100, FetchOptions{Release: 9})
	if err != nil || x.Fetched != 100 {
		t.Fatalf("%+v, %v", x, err)
	}
	if !reflect.DeepEqual(releases, []uint64{9, 0, 0}) {
		t.Errorf("asked to release %v: only the first call may", releases)
	}
}

// TestWaitGoesOnAfterASignal: a call that is made anew waits for what is left.
func TestWaitGoesOnAfterASignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waits []uint32
		f := newFakeFile(func(cmd uint32, arg []byte) syscall.Errno {
			req, _, err := uapi.DecodeFetch(cmd, arg)
			if err != nil || req.Flags != uapi.FetchWait {
				t.Errorf("%+v, %v", req, err)
			}
			if waits = append(waits, req.WaitMS); req.WaitMS == 0 {
				return syscall.ENOSPC
			}
			time.Sleep(400 * time.Microsecond)
			return syscall.EINTR
		})
		_, err := f.Fetch(t.Context(), 0, 100, FetchOptions{Wait: time.Millisecond})
		if !errors.Is(err, syscall.ENOSPC) || !slices.Equal(waits, []uint32{1, 1, 1, 0}) {
			t.Errorf("%v, %v", waits, err)
		}
	})
}

func TestWaitOutOfRange(t *testing.T) {
	f := newFakeFile(fails(syscall.EIO))
	for _, d := range []time.Duration{-1, time.Hour + 1} {
		if _, err := f.Fetch(t.Context(), 0, 100, FetchOptions{Wait: d}); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%v: %v", d, err)
		}
	}
}

func TestEndOfContextBreaksOff(t *testing.T) {
	errStop := errors.New("stopped by the test")
	for name, blocked := range map[string]func(context.Context, *File) error{
		"fetch":  func(ctx context.Context, f *File) error { _, err := f.Fetch(ctx, 0, 1, FetchOptions{}); return err },
		"digest": func(ctx context.Context, f *File) error { _, err := f.Digest(ctx, 0, 1); return err },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			f := newFakeFile(func(uint32, []byte) syscall.Errno {
				go cancel(errStop)
				return blockUntilSignal()
			})
			err := blocked(ctx, f)
			if !errors.Is(err, context.Canceled) || !errors.Is(err, errStop) || !strings.Contains(err.Error(), f.path) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestContextThatEndedAsksNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := newFakeFile(func(uint32, []byte) syscall.Errno { t.Error("asked"); return 0 })
	if _, err := f.Fetch(ctx, 0, 1, FetchOptions{Release: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestBytesThatCameAllTheSame(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := newFakeFile(func(cmd uint32, arg []byte) syscall.Errno {
		cancel()
		return fakeFetch(t, cmd, arg)
	})
	if x, err := f.Fetch(ctx, 0, 8, FetchOptions{}); err != nil || x.Handle == 0 {
		t.Errorf("%+v, %v: the handle is lost", x, err)
	}
}

// TestRemedies: there is one for each errno in hbmfs.h's lists, but for those that
// this package does not pass on or that never come to a Go program.
func TestRemedies(t *testing.T) {
	header, err := os.ReadFile("../uapi/hbmfs.h")
	if err != nil {
		t.Fatal(err)
	}
	listed := regexp.MustCompile(`(?m)^ \* (E[A-Z0-9]+)  `).FindAllStringSubmatch(string(header), -1)
	named := make(map[string]bool)
	for errno := range remedies {
		named[unix.ErrnoName(errno)] = true
	}
	for _, more := range []map[syscall.Errno]string{entryRemedies, ringRemedies, bufferRemedies} {
		for errno := range more {
			named[unix.ErrnoName(errno)] = true
		}
	}
	if len(listed) < len(remedies) {
		t.Errorf("%d errnos are listed, %d have a remedy", len(listed), len(remedies))
	}
	for _, m := range listed {
		if name := m[1]; !named[name] && name != "EINTR" && name != "EFAULT" {
			t.Errorf("%s has no remedy", name)
		}
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	for errno, remedy := range map[syscall.Errno]string{
		syscall.ESTALE:    "open it again",
		syscall.ENOSPC:    "release a handle",
		syscall.ENODEV:    "Info lists them",
		syscall.ENOTCONN:  "mount again",
		syscall.EREMOTEIO: "requires a direct path",
	} {
		f := newFakeFile(fails(errno))
		x := Lease{Handle: 1, Fetched: 2, Segments: make([]Segment, 3)}
		err := f.FetchInto(t.Context(), &x, 4096, 512, FetchOptions{})
		if !errors.Is(err, errno) {
			t.Errorf("%v does not wrap %v", err, errno)
		}
		for _, part := range []string{"512 bytes at 4096", "/mnt/data/a", remedy} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q does not say %q", err, part)
			}
		}
		if x.Handle != 0 || x.Fetched != 0 || len(x.Segments) != 0 {
			t.Errorf("after an error: %+v", x)
		}
	}
}

func TestRoomForSegments(t *testing.T) {
	f := newFakeFile(func(cmd uint32, arg []byte) syscall.Errno { return fakeFetch(t, cmd, arg) })
	for room, want := range map[int]error{-1: syscall.EINVAL, uapi.MaxSegments: nil, uapi.MaxSegments + 1: syscall.EINVAL} {
		if _, err := f.Fetch(t.Context(), 0, 1, FetchOptions{MaxSegments: room}); !errors.Is(err, want) {
			t.Errorf("room for %d: %v", room, err)
		}
	}
}

func TestAnswersThatTheABIForbids(t *testing.T) {
	for name, change := range map[string]func(*uapi.Fetch, *uapi.Segment){
		"fetched":       func(f *uapi.Fetch, _ *uapi.Segment) { f.Fetched = 1 << 63 },
		"cursor":        func(f *uapi.Fetch, _ *uapi.Segment) { f.Cursor = math.MaxUint64 },
		"file size":     func(f *uapi.Fetch, _ *uapi.Segment) { f.FileSize = 1 << 63 },
		"path":          func(f *uapi.Fetch, _ *uapi.Segment) { f.Path = 256 },
		"why":           func(f *uapi.Fetch, _ *uapi.Segment) { f.Why = 1 << 16 },
		"region offset": func(_ *uapi.Fetch, s *uapi.Segment) { s.RegionOffset = 1 << 63 },
		"file offset":   func(_ *uapi.Fetch, s *uapi.Segment) { s.FileOffset = 1 << 63 },
		"length":        func(_ *uapi.Fetch, s *uapi.Segment) { s.Length = 1 << 63 },
		"segment path":  func(_ *uapi.Fetch, s *uapi.Segment) { s.Path = 256 },
	} {
		f := newFakeFile(func(_ uint32, arg []byte) syscall.Errno {
			head, s := uapi.Fetch{Size: uint32(uapi.FetchSize), SegmentCount: 1}, uapi.Segment{}
			change(&head, &s)
			uapi.EncodeFetch(arg, &head)
			uapi.EncodeSegment(arg, &head, 0, s)
			return 0
		})
		if x, err := f.Fetch(t.Context(), 0, 1, FetchOptions{}); !errors.Is(err, ErrProtocol) || x != nil {
			t.Errorf("%s: %+v, %v", name, x, err)
		}
	}
	f := newFakeFile(func(_ uint32, arg []byte) syscall.Errno {
		arg[36] = 2 // segment_count, in the room for one
		return 0
	})
	if _, err := f.Fetch(t.Context(), 0, 1, FetchOptions{MaxSegments: 1}); !errors.Is(err, ErrProtocol) {
		t.Errorf("more segments than room: %v", err)
	}
}

func TestRelease(t *testing.T) {
	var asked []uint64
	f := newFakeFile(func(cmd uint32, arg []byte) syscall.Errno {
		r, err := uapi.DecodeRelease(cmd, arg)
		if err != nil {
			t.Error(err)
		}
		asked = append(asked, r.Handle)
		if len(asked) == 1 {
			return syscall.EINTR
		}
		r.Released = 4
		uapi.EncodeRelease(arg, &r)
		return 0
	})
	if err := f.Release(5); err != nil {
		t.Error(err)
	}
	if err := f.Release(0); err != nil {
		t.Errorf("the handle of a fetch of nothing: %v", err)
	}
	if n, err := f.ReleaseAll(); n != 4 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if !reflect.DeepEqual(asked, []uint64{5, 5, 0}) {
		t.Errorf("asked to release %v", asked)
	}
	if err := newFakeFile(fails(syscall.ENOENT)).Release(6); !errors.Is(err, syscall.ENOENT) || !strings.Contains(err.Error(), "handle 6") {
		t.Errorf("%v", err)
	}
}

func TestDigest(t *testing.T) {
	sum := [32]byte{0: 1, 31: 2}
	calls := 0
	f := newFakeFile(func(cmd uint32, arg []byte) syscall.Errno {
		d, err := uapi.DecodeDigest(cmd, arg)
		if err != nil || d.Offset != 8 || d.Length != 16 {
			t.Errorf("asked for %+v, %v", d, err)
		}
		if calls++; calls == 1 {
			return syscall.EINTR
		}
		d.SHA256 = sum
		uapi.EncodeDigest(arg, &d)
		return 0
	})
	if got, err := f.Digest(t.Context(), 8, 16); got != sum || err != nil {
		t.Errorf("%x, %v", got, err)
	}
	if _, err := newFakeFile(fails(syscall.EINVAL)).Digest(t.Context(), 8, 16); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("%v", err)
	}
}

func TestUseAfterClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	sys, _, err := openFileOf(path)
	if err != nil {
		t.Fatal(err)
	}
	f := &File{path: path, sys: sys, mount: &Mount{}}
	if _, err := f.Fetch(t.Context(), 0, 1, FetchOptions{}); !errors.Is(err, syscall.ENOTTY) {
		t.Errorf("a file of another file system: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	_, fetch := f.Fetch(t.Context(), 0, 1, FetchOptions{})
	_, release := f.ReleaseAll()
	_, digest := f.Digest(t.Context(), 0, 1)
	for name, err := range map[string]error{"fetch": fetch, "release": release, "digest": digest, "close": f.Close()} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFetchIntoAllocatesNothing(t *testing.T) {
	f := newFakeFile(func(cmd uint32, arg []byte) syscall.Errno { return fakeFetch(t, cmd, arg) })
	var x Lease
	ctx := context.Background()
	allocs := testing.AllocsPerRun(100, func() {
		if err := f.FetchInto(ctx, &x, 0, 8<<20, FetchOptions{Release: x.Handle}); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations a fetch", allocs)
	}
}
