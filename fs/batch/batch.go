// Package batch fetches the entries of a BATCH, all at once, and puts what came into its
// answer. What an entry is, a range of an open file or a file by name, a [Getter] knows.
//
// Locking: room.mu guards the room for segments that the entries share. It is not held
// while anything is fetched.
package batch

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"

	"hbmfs/cache"
	"hbmfs/fs/handles"
	"hbmfs/fs/uapi"
	"hbmfs/transport/limits"
)

// maxWorkers is how many entries of a batch are fetched at the same time.
const maxWorkers = 128

// Pinned is what a lease of the cache says of itself.
type Pinned interface {
	handles.Held
	Segments() []cache.Segment
	Covered() int64
	Next() int64
	Path() uapi.Path
	Why() uapi.Reason
}

// Got is a range that was fetched.
type Got struct {
	Pinned
	Size      int64 // of the file, in bytes
	Unsettled bool
	Away      bool // likewise: the target did not answer
}

// Getter fetches an entry, whose name and range are the caller's, not yet checked by
// anybody. Get is called concurrently.
type Getter interface {
	Get(ctx context.Context, e *uapi.BatchEntry, name []byte, room Room) (Got, error)
}

// Room is what an entry may have of the room for segments.
type Room interface {
	// Limit returns how many segments n bytes may have, at least 1. It is called once.
	Limit(n int64) int
}

// Run is one batch. Release must be called in the end, if End has returned nil.
type Run struct {
	req      *uapi.BatchRequest
	getter   Getter
	errno    func(name []byte, err error) syscall.Errno
	room     room
	got      []Got
	entries  []uapi.BatchEntry
	segments []uapi.Segment
}

// Do fetches all entries. turn is of who asks: it waits for one of it for each entry that
// is under way. extent is the cache's, in bytes; errno maps the errors of entries.
// If ctx ends first, nothing is pinned, and its error is returned.
func Do(ctx context.Context, req *uapi.BatchRequest, getter Getter, turn *limits.Share, extent int64, errno func(name []byte, err error) syscall.Errno) (*Run, error) {
	n := int(req.EntryCount)
	r := &Run{
		req: req, getter: getter, errno: errno, got: make([]Got, n), entries: make([]uapi.BatchEntry, n),
		room: room{extent: extent, left: int(req.SegmentRoom)},
	}
	r.room.left -= min(n, r.room.left) // one each is kept
	if err := r.fetchAll(ctx, turn); err != nil {
		r.Release()
		return nil, err
	}
	r.tell()
	return r, nil
}

func (r *Run) fetchAll(ctx context.Context, turn *limits.Share) error {
	var next atomic.Int64
	var workers sync.WaitGroup
	work := func() {
		for i := next.Add(1) - 1; i < int64(len(r.got)) && ctx.Err() == nil; i = next.Add(1) - 1 {
			if turn.Wait(ctx, 1) == nil {
				r.fetch(ctx, int(i))
				turn.Release(1)
			}
		}
	}
	for range min(len(r.got), maxWorkers) - 1 {
		workers.Go(work)
	}
	work()
	workers.Wait()
	return ctx.Err()
}

// fetch fetches entry i, and notes what became of it.
func (r *Run) fetch(ctx context.Context, i int) {
	e := &r.entries[i]
	*e = r.req.Entry(i)
	e.Fetched, e.Cursor, e.FileSize = 0, 0, 0
	e.Error, e.Segment, e.SegmentCount, e.Path, e.Why = 0, 0, 0, 0, 0
	name := r.req.NameOf(e)
	if err := e.Check(); err != nil {
		e.Error = uint16(r.errno(name, err))
		return
	}
	if i >= int(r.req.SegmentRoom) {
		e.Flags, e.Cursor = uapi.BatchMore, e.Offset
		return
	}
	room := entryRoom{room: &r.room}
	got, err := r.getter.Get(ctx, e, name, &room)
	if err != nil {
		room.giveBack(0)
		e.Error = uint16(r.errno(name, err))
		return
	}
	room.giveBack(len(got.Segments()))
	got.note(e)
	if got.Covered() == 0 {
		got.Release()
		return
	}
	r.got[i] = got
}

// note puts what was got into an entry.
func (g *Got) note(e *uapi.BatchEntry) {
	e.Fetched, e.FileSize = uint64(g.Covered()), uint64(g.Size)
	if next := g.Next(); next != 0 {
		e.Flags, e.Cursor = uapi.BatchMore, uint64(next)
	}
	if g.Unsettled || g.Away {
		e.Flags |= uapi.FetchUnsettled
	}
	e.Path, e.Why = uint16(g.Path()), uint16(g.Why())
	if g.Away {
		e.Why = uint16(uapi.WhyTargetAway)
	}
}

// tell puts the segments of all entries one behind the other.
func (r *Run) tell() {
	r.req.Failed, r.req.Flags, r.req.Handle = 0, 0, 0
	r.segments = make([]uapi.Segment, 0, r.req.SegmentRoom)
	for i := range r.entries {
		e := &r.entries[i]
		if e.Error != 0 {
			r.req.Failed++
		}
		if r.got[i].Pinned == nil {
			continue
		}
		segments := r.got[i].Segments()
		e.Segment, e.SegmentCount = uint16(len(r.segments)), uint16(len(segments))
		for _, s := range segments {
			r.segments = append(r.segments, Segment(s))
		}
	}
}

// Segment is a segment as programs are told of it.
func Segment(s cache.Segment) uapi.Segment {
	var flags uint16
	if s.Hit {
		flags = uapi.SegmentHit
	}
	return uapi.Segment{
		RegionOffset: uint64(s.RegionOff), FileOffset: uint64(s.FileOff), Length: uint64(s.Len),
		Region: s.Region, Path: uint16(s.Path), Flags: flags,
	}
}

// Pins reports whether anything is pinned.
func (r *Run) Pins() bool { return len(r.segments) > 0 }

// Encode writes the answer, with the handle of what is pinned, 0 for nothing.
func (r *Run) Encode(out []byte, handle uint64) {
	r.req.Handle = handle
	r.req.Encode(out, r.entries, r.segments)
	r.req, r.entries, r.segments = nil, nil, nil
}

// Release lets go of what all entries pin.
func (r *Run) Release() {
	for i := range r.got {
		if r.got[i].Pinned != nil {
			r.got[i].Release()
		}
	}
}

var _ handles.Held = (*Run)(nil)

// ErrNamed: a range of an open file has a name (EINVAL).
var ErrNamed = fmt.Errorf("a range of an open file has a name: %w", syscall.EINVAL)
