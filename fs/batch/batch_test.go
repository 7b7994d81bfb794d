package batch

import (
	"context"
	"errors"
	"sync/atomic"
	"syscall"
	"testing"

	"hbmfs/cache"
	"hbmfs/fs/uapi"
	"hbmfs/transport/limits"
)

const extent = 1 << 20

// fakePinned is n bytes from off, in as many segments as extents.
type fakePinned struct {
	g        *fakeGetter
	segments []cache.Segment
	covered  int64
	next     int64
}

func (p *fakePinned) Segments() []cache.Segment { return p.segments }
func (p *fakePinned) Covered() int64            { return p.covered }
func (p *fakePinned) Next() int64               { return p.next }
func (p *fakePinned) Path() uapi.Path           { return uapi.PathStaged }
func (p *fakePinned) Why() uapi.Reason          { return uapi.WhyNoDirect }
func (p *fakePinned) Release()                  { p.g.held.Add(-1) }

type fakeGetter struct {
	held atomic.Int64
	got  atomic.Int64
	fail error // of entries at odd offsets
	then func()
}

func (g *fakeGetter) Get(_ context.Context, e *uapi.BatchEntry, _ []byte, room Room) (Got, error) {
	g.got.Add(1)
	if g.then != nil {
		g.then()
	}
	if e.Offset%2 == 1 && g.fail != nil {
		return Got{}, g.fail
	}
	p := &fakePinned{g: g}
	limit := room.Limit(int64(e.Length))
	for off := int64(e.Offset); off < int64(e.Offset+e.Length); off += extent {
		if len(p.segments) == limit {
			p.next = off
			break
		}
		n := min(extent, int64(e.Offset+e.Length)-off)
		p.segments = append(p.segments, cache.Segment{FileOff: off, Len: n})
		p.covered += n
	}
	g.held.Add(1)
	return Got{Pinned: p, Size: 1 << 40, Away: e.Offset == 4}, nil
}

// do runs a batch of ranges, and returns its answer.
func do(ctx context.Context, t *testing.T, g Getter, room int, ranges ...[2]uint64) (*Run, uapi.BatchReply, error) {
	t.Helper()
	in := make([]byte, uapi.BatchLen(len(ranges), room, 0))
	head := uapi.Batch{Size: uint32(uapi.BatchSize), EntryCount: uint32(len(ranges)), SegmentRoom: uint32(room)}
	uapi.EncodeBatch(in, &head, func(i int) (uapi.BatchEntry, string) {
		return uapi.BatchEntry{Offset: ranges[i][0], Length: ranges[i][1]}, ""
	})
	req, err := uapi.DecodeBatch(uapi.IocBatch(len(in)), in)
	if err != nil {
		t.Fatal(err)
	}
	turn := Join(limits.New(limits.Config{What: "entries", All: 16}), "x")
	defer turn.Leave()
	run, err := Do(ctx, &req, g, turn, extent, errnoOf)
	if err != nil {
		return nil, uapi.BatchReply{}, err
	}
	out := make([]byte, len(in))
	run.Encode(out, 5)
	reply, err := uapi.DecodeBatchReply(out, len(ranges), room)
	if err != nil {
		t.Fatal(err)
	}
	return run, reply, nil
}

func errnoOf(_ []byte, err error) syscall.Errno {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return syscall.EINVAL
}

func TestPartialSuccess(t *testing.T) {
	g := &fakeGetter{fail: syscall.EACCES}
	run, reply, err := do(t.Context(), t, g, 20, [2]uint64{0, 100}, [2]uint64{1, 100}, [2]uint64{2, 3 * extent}, [2]uint64{4, 0}, [2]uint64{1 << 63, 1})
	if err != nil || reply.Failed != 2 || reply.SegmentCount != 4 || reply.Handle != 5 {
		t.Fatalf("%+v, %v", reply.Batch, err)
	}
	for i, want := range []uapi.BatchEntry{
		{Fetched: 100, FileSize: 1 << 40, SegmentCount: 1, Path: uint16(uapi.PathStaged), Why: uint16(uapi.WhyNoDirect)},
		{Error: uint16(syscall.EACCES)},
		{Fetched: 3 * extent, FileSize: 1 << 40, Segment: 1, SegmentCount: 3, Path: uint16(uapi.PathStaged), Why: uint16(uapi.WhyNoDirect)},
		{FileSize: 1 << 40, Flags: uapi.FetchUnsettled, Path: uint16(uapi.PathStaged), Why: uint16(uapi.WhyTargetAway)},
		{Error: uint16(syscall.EINVAL)},
	} {
		e, _, err := reply.Entry(i)
		want.Offset, want.Length = e.Offset, e.Length
		if err != nil || e != want {
			t.Errorf("entry %d: %+v, want %+v, %v", i, e, want, err)
		}
	}
	if n := g.held.Load(); n != 2 {
		t.Errorf("%d are held, want 2", n)
	}
	run.Release()
	if n := g.held.Load(); n != 0 {
		t.Errorf("%d are held after the release", n)
	}
}

// TestRoom: one segment is kept for each, from the first on; who has none is not fetched,
// and no range has more than there is room for.
func TestRoom(t *testing.T) {
	for _, room := range []int{1, 2, 3, 4, 7, 30} {
		g := new(fakeGetter)
		ranges := [][2]uint64{{0, 5 * extent}, {8, 100}, {16, 2 * extent}, {32, 100}}
		run, reply, err := do(t.Context(), t, g, room, ranges...)
		if err != nil || int(reply.SegmentCount) > room || int(g.got.Load()) != min(room, len(ranges)) {
			t.Fatalf("room for %d: %+v, %d fetched, %v", room, reply.Batch, g.got.Load(), err)
		}
		for i, r := range ranges {
			e, _, err := reply.Entry(i)
			done := e.Fetched == r[1]
			if err != nil || e.Error != 0 || done != (e.Flags&uapi.BatchMore == 0) || !done && e.Cursor != r[0]+e.Fetched || (i < room) != (e.SegmentCount > 0) {
				t.Errorf("room for %d, entry %d: %+v, %v", room, i, e, err)
			}
			if room == 30 && !done {
				t.Errorf("there was room: %+v", e)
			}
		}
		run.Release()
	}
}

// TestInterrupted: who gives up holds nothing.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	g := &fakeGetter{then: cancel}
	if _, _, err := do(ctx, t, g, 4, [2]uint64{0, 100}, [2]uint64{8, 100}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if n := g.held.Load(); n != 0 {
		t.Errorf("%d are held", n)
	}
}

// TestInto: what goes into a buffer needs no room for segments, pins nothing, and comes
// back with its places.
func TestInto(t *testing.T) {
	ranges := [][2]uint64{{0, 100}, {1, 100}, {2, 3 * extent}, {4, 0}}
	in := make([]byte, uapi.BatchLen(len(ranges), 0, 0))
	head := uapi.Batch{Size: uint32(uapi.BatchSize), Flags: uapi.BatchInto, EntryCount: uint32(len(ranges))}
	uapi.EncodeBatch(in, &head, func(i int) (uapi.BatchEntry, string) {
		return uapi.BatchEntry{Offset: ranges[i][0], Length: ranges[i][1], Cursor: uint64(1000 + i)}, ""
	})
	req, err := uapi.DecodeRanges(uapi.IocBatch(len(in)), in)
	if err != nil {
		t.Fatal(err)
	}
	turn := Join(limits.New(limits.Config{What: "entries", All: 16}), "x")
	defer turn.Leave()
	run, err := Do(t.Context(), &req, getterFunc(func(_ context.Context, e *uapi.BatchEntry, _ []byte, _ Room) (Got, error) {
		if e.Offset == 1 {
			return Got{}, syscall.EACCES
		}
		return Got{Pinned: Placed(int64(e.Length), uapi.PathRDMA, uapi.WhyBest), Size: 1 << 40}, nil
	}), turn, extent, errnoOf)
	if err != nil || run.Pins() {
		t.Fatalf("%v, pins: %t", err, run.Pins())
	}
	out := make([]byte, len(in))
	run.Encode(out, 0)
	run.Release()
	reply, err := uapi.DecodeBatchReply(out, len(ranges), 0)
	if err != nil || reply.Failed != 1 || reply.Handle != 0 || reply.Flags != 0 {
		t.Fatalf("%+v, %v", reply.Batch, err)
	}
	for i, r := range ranges {
		e, _, err := reply.Entry(i)
		want := uapi.BatchEntry{Offset: r[0], Length: r[1], Cursor: uint64(1000 + i), Fetched: r[1], FileSize: 1 << 40, Path: uint16(uapi.PathRDMA)}
		if i == 1 {
			want = uapi.BatchEntry{Offset: r[0], Length: r[1], Cursor: 1001, Error: uint16(syscall.EACCES)}
		}
		if err != nil || e != want {
			t.Errorf("entry %d: %+v, want %+v, %v", i, e, want, err)
		}
	}
}
