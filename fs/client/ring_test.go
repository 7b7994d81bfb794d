package client

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/fs/uapi"
)

// fakeRing is the mount's side of a ring, which a test plays.
type fakeRing struct {
	mem    uapi.RingMemory
	events [2]int
	ctl    *fakeCtl
	reply  fakeReply // guarded by ctl.mu
}

// newFakeRing makes the memory of a ring, of length bytes as the mount says, and a mount
// that answers with it.
func newFakeRing(t *testing.T, entries, names uint32) (*fakeRing, *Mount) {
	t.Helper()
	size := uapi.RingLen(entries, names)
	memfd := newMemfd(t, 0, (size+7)&^7)
	mapped, err := unix.Mmap(memfd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(mapped) })
	clear(mapped)
	r := &fakeRing{mem: uapi.InitRing(mapped, 7, entries, names)}
	for i := range r.events {
		if r.events[i], err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(r.events[i]) })
	}
	r.reply = fakeReply{
		head: uapi.CtlReply{Size: uint32(uapi.CtlReplySize), Length: uint64(size), Region: 7},
		fds:  []int{memfd, r.events[0], r.events[1]},
	}
	s, m := newFakeCtl(t, func(uapi.CtlRequest) fakeReply { return fakeReply{} })
	s.mu.Lock()
	defer s.mu.Unlock()
	r.ctl, s.ring = s, &r.reply
	return r, m
}

// TestRingReplies: what no mount answers is refused, with nothing left open or mapped.
func TestRingReplies(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*fakeRing)
		want  error
	}{
		"good":            {func(*fakeRing) {}, nil},
		"two descriptors": {func(r *fakeRing) { r.reply.fds = r.reply.fds[:2] }, ErrProtocol},
		"no length":       {func(r *fakeRing) { r.reply.head.Length = 0 }, ErrProtocol},
		"long":            {func(r *fakeRing) { r.reply.head.Length++ }, ErrProtocol},
		"short":           {func(r *fakeRing) { r.reply.head.Length -= 8 }, ErrProtocol},
		"layout":          {func(r *fakeRing) { r.mem.CompletionsOffset++ }, ErrProtocol},
		"refused":         {func(r *fakeRing) { r.reply.head.Error, r.reply.fds = int32(syscall.EDQUOT), nil }, syscall.EDQUOT},
		"old":             {func(r *fakeRing) { r.reply.head.Error, r.reply.fds = int32(syscall.ENOTTY), nil }, syscall.ENOTTY},
	} {
		t.Run(name, func(t *testing.T) {
			f, m := newFakeRing(t, 4, 8)
			f.ctl.mu.Lock()
			c.spoil(f)
			f.ctl.mu.Unlock()
			r, err := m.NewRing(RingOptions{Entries: 4, NameBytes: 2})
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if err == nil {
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			} else if !strings.Contains(err.Error(), m.root) {
				t.Errorf("%q does not say of which mount", err)
			}
		})
	}
	if _, err := new(Mount).NewRing(RingOptions{Entries: 4096, NameBytes: 4096}); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("too many names: %v", err)
	}
}

// TestRingOverTheWire: what is submitted and completed is what was said, and Wait ends.
func TestRingOverTheWire(t *testing.T) {
	f, m := newFakeRing(t, 2, 16)
	r, err := m.NewRing(RingOptions{Entries: 2, NameBytes: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ops := []Op{
		{Kind: OpFetch, Tag: 5, File: 3, Name: "a/b", Offset: 1, Length: 2, Device: 4, Access: Sequential, Release: 6},
		{Kind: OpCancel, Tag: 8, Cancel: 5, Release: 99},
		{Kind: OpRelease, Tag: 9, Release: 7},
	}
	if n, err := r.Submit(ops); n != 2 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	fetch, cancel := f.mem.Submission(0), f.mem.Submission(1)
	if want := (uapi.RingOp{UserData: 5, Op: uapi.RingFetch, Flags: uapi.FetchSequential, File: 3, Offset: 1, Length: 2, Handle: 6, Device: 4, NameLength: 3}); fetch != want {
		t.Errorf("%+v", fetch)
	}
	if want := (uapi.RingOp{UserData: 8, Op: uapi.RingCancel, Handle: 5}); cancel != want || f.mem.SubmissionTail != 2 {
		t.Errorf("%+v", cancel)
	}
	if name := string(f.mem.Names()[fetch.Name:][:3]); name != "a/b" {
		t.Errorf("name %q", name)
	}
	if _, err := r.Submit(ops[2:]); err != nil {
		t.Errorf("a full ring: %v", err)
	}
	f.mem.SubmissionHead = 1
	if _, err := r.Submit([]Op{{Kind: OpFetch, Name: "much too long"}}); !errors.Is(err, syscall.ENAMETOOLONG) {
		t.Errorf("a long name: %v", err)
	}
	f.mem.Complete(0, &uapi.RingDone{UserData: 5, Flags: uapi.RingHit | uapi.FetchUnsettled | uapi.BatchMore, Path: 2, Why: 7, Handle: 1, Length: 2, Cursor: 3, FileSize: 4, RegionOffset: 5, Region: 6})
	f.mem.Complete(1, &uapi.RingDone{UserData: 8, Error: uint16(syscall.ECANCELED)})
	f.mem.Complete(2, &uapi.RingDone{UserData: 9, Length: 1 << 63})
	f.mem.CompletionTail = 3
	done := make([]Completion, 4)
	if n, err := r.Wait(t.Context(), done); n != 3 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if c := done[0]; c.Tag != 5 || c.Handle != 1 || c.Segment.Length != 2 || c.Cursor != 3 || c.FileSize != 4 || c.Segment.RegionOffset != 5 || c.Segment.Region != 6 ||
		!c.Segment.Hit || !c.Unsettled || !c.More || c.Segment.Path != uapi.PathStaged || c.Why != uapi.WhyTargetAway || c.Err != nil {
		t.Errorf("%+v", c)
	}
	if !errors.Is(done[1].Err, syscall.ECANCELED) || !errors.Is(done[2].Err, ErrProtocol) || f.mem.CompletionHead != 3 {
		t.Errorf("%v, %v", done[1].Err, done[2].Err)
	}
	checkWaitEnds(t, f, r)
}

// checkWaitEnds: with its context, with the ring that the mount ends, and by Close.
func checkWaitEnds(t *testing.T, f *fakeRing, r *Ring) {
	t.Helper()
	done := make([]Completion, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := r.Wait(ctx, done); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with its context: %v", err)
	}
	f.mem.SubmissionFlags = uapi.RingBroken
	if _, err := r.Wait(t.Context(), done); !errors.Is(err, ErrProtocol) {
		t.Errorf("broken: %v", err)
	}
	f.mem.SubmissionFlags = 0
	time.AfterFunc(10*time.Millisecond, func() { _ = r.Close() })
	if _, err := r.Wait(context.Background(), done); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}
