// Package batch fetches the entries of a BATCH, all at once, and puts what came into its
// answer. What an entry is, a range of an open file or a file by name, a [Getter] knows.
//
// Locking: room.mu guards the room for segments that the entries share. It is not held
// while anything is fetched.
package batch

import (
	"context"
	"errors"
	"sync"
	"syscall"

	"hbmfs/cache"
	"hbmfs/fs/handles"
	"hbmfs/fs/uapi"
	"hbmfs/transport/limits"
)

// maxUnderWay is how many entries of a batch are fetched at the same time.
const maxUnderWay = 128

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
	// Limit returns how many segments n bytes may have, at least 1. Only the last
	// call counts.
	Limit(n int64) int
}

// Run is one batch. Release must be called in the end, if Do has returned one. Encode
// leaves only what is pinned in it: it may be held for as long as its caller likes.
type Run struct {
	req      *uapi.BatchRequest
	getter   Getter
	turn     *limits.Share
	room     room
	got      []Got
	errs     []error // of entries; nil for success
	entries  []uapi.BatchEntry
	segments []uapi.Segment
}

// Do fetches all entries. turn is one share, of who asks, of the entries that are under
// way, and bounded by [Join]. extent is the cache's, in bytes; errno maps the errors of
// entries. If ctx ends first, nothing is pinned, and its error is returned.
func Do(ctx context.Context, req *uapi.BatchRequest, getter Getter, turn *limits.Share, extent int64, errno func(name []byte, err error) syscall.Errno) (*Run, error) {
	n := int(req.EntryCount)
	r := &Run{
		req: req, getter: getter, turn: turn, got: make([]Got, n), errs: make([]error, n), entries: make([]uapi.BatchEntry, n),
		room: room{extent: extent, left: int(req.SegmentRoom)},
	}
	r.room.left -= min(n, r.room.left) // one each is kept
	err := r.fetchAll(ctx)
	if err == nil {
		err = r.fetchAgain(ctx)
	}
	if err != nil {
		r.Release()
		return nil, err
	}
	r.tell(errno)
	return r, nil
}

// Join returns a share of the limit on entries under way, for one batch of the user.
func Join(limit *limits.Limit, user string) *limits.Share { return limit.Join(user, maxUnderWay) }

// fetchAll begins each entry when its turn comes. Only this one waits for that, so that
// there are no more goroutines than entries that are under way.
func (r *Run) fetchAll(ctx context.Context) error {
	var underWay sync.WaitGroup
	defer underWay.Wait()
	for i := range r.got {
		if err := r.turn.Wait(ctx, 1); err != nil {
			return err
		}
		underWay.Go(func() {
			defer r.turn.Release(1)
			r.fetch(ctx, i)
		})
	}
	underWay.Wait()
	return ctx.Err()
}

// fetchAgain fetches those, one after the other, that the target had no descriptor for:
// others of the batch may have had them. It ends with the first that finds none again.
func (r *Run) fetchAgain(ctx context.Context) error {
	for i, err := range r.errs {
		if !errors.Is(err, syscall.ENFILE) {
			continue
		}
		if err := r.turn.Wait(ctx, 1); err != nil {
			return err
		}
		r.fetch(ctx, i)
		r.turn.Release(1)
		if errors.Is(r.errs[i], syscall.ENFILE) {
			break
		}
	}
	return ctx.Err()
}

// fetch fetches entry i, and notes what became of it.
func (r *Run) fetch(ctx context.Context, i int) {
	e := &r.entries[i]
	*e = r.req.Entry(i)
	e.Fetched, e.FileSize = 0, 0
	if !r.req.Into() {
		e.Cursor = 0
	}
	e.Error, e.Segment, e.SegmentCount, e.Path, e.Why = 0, 0, 0, 0, 0
	if r.errs[i] = e.Check(); r.errs[i] != nil {
		return
	}
	if !r.req.Into() && i >= int(r.req.SegmentRoom) {
		e.Flags, e.Cursor = uapi.BatchMore, e.Offset
		return
	}
	room := entryRoom{room: &r.room}
	got, err := r.getter.Get(ctx, e, r.req.NameOf(e), &room)
	if err != nil {
		room.giveBack(0)
		r.errs[i] = err
		return
	}
	room.giveBack(len(got.Segments()))
	got.Note(e)
	if got.Covered() == 0 {
		got.Release()
		return
	}
	r.got[i] = got
}

// Note puts what was got into an entry, which is zero there.
func (g *Got) Note(e *uapi.BatchEntry) {
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

// tell puts the segments of all entries one behind the other, and errors into them.
func (r *Run) tell(errno func(name []byte, err error) syscall.Errno) {
	r.req.Failed, r.req.Flags, r.req.Handle = 0, 0, 0
	r.segments = make([]uapi.Segment, 0, r.req.SegmentRoom)
	for i := range r.entries {
		e := &r.entries[i]
		if err := r.errs[i]; err != nil {
			e.Error = uint16(errno(r.req.NameOf(e), err))
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

// Encode writes the answer, with the handle of what is pinned, 0 for nothing. The buffer
// that the request is in is the caller's again.
func (r *Run) Encode(out []byte, handle uint64) {
	r.req.Handle = handle
	r.req.Encode(out, r.entries, r.segments)
	*r = Run{got: r.got}
}

// Release lets go of what all entries pin.
func (r *Run) Release() {
	for i := range r.got {
		if r.got[i].Pinned != nil {
			r.got[i].Release()
		}
	}
}

// Err is why some of what is pinned is of no use any more, or nil.
func (r *Run) Err() error {
	for i := range r.got {
		if r.got[i].Pinned != nil {
			if err := handles.Lost(r.got[i].Pinned); err != nil {
				return err
			}
		}
	}
	return nil
}

var _ handles.Held = (*Run)(nil)
