package readahead

import (
	"sync"
	"sync/atomic"
	"time"

	"hbmfs/remote"
	"hbmfs/transport/limits"
)

const (
	// idle is for how long a stream's chunks are left to it, whoever wants room.
	idle = remote.Moment(time.Second)
	// reclaimEvery bounds how often room is looked for.
	reclaimEvery = remote.Moment(10 * time.Millisecond)
)

// Budget is what the streams of a mount share: how much host memory they may
// have, by user and over all, and counters.
type Budget struct {
	limit *limits.Limit // in bytes
	now   func() remote.Moment
	pool  sync.Pool // of chunks that nobody has

	brought, used atomic.Int64

	mu        sync.Mutex // guards what follows
	streams   map[*Stream]struct{}
	reclaimed remote.Moment // the last time that room was looked for
}

// NewBudget returns a budget of which nothing is in use. now is the clock that
// files are vouched for by.
func NewBudget(limit *limits.Limit, now func() remote.Moment) *Budget {
	return &Budget{limit: limit, now: now, streams: make(map[*Stream]struct{})}
}

// Stats returns how many bytes were brought ahead of their READ, and how many of
// them READs have got.
func (b *Budget) Stats() (brought, used int64) { return b.brought.Load(), b.used.Load() }

func (b *Budget) join(s *Stream) *limits.Share {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.streams[s] = struct{}{}
	return b.limit.Join(s.user, 0)
}

func (b *Budget) remove(s *Stream) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.streams, s)
}

// reclaim takes away what the user of s has in another stream, and does not read.
func (b *Budget) reclaim(s *Stream) {
	now := b.now()
	if victim := b.idlest(s, now); victim != nil {
		victim.dropIdle(now - idle)
	}
}

// idlest returns the stream of the same user that was not used for longest, and
// for so long that it is idle.
func (b *Budget) idlest(s *Stream, now remote.Moment) (found *Stream) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now < b.reclaimed+reclaimEvery {
		return nil
	}
	b.reclaimed = now
	oldest := int64(now - idle)
	for o := range b.streams {
		if used := o.used.Load(); o != s && o.user == s.user && used <= oldest && o.alive.Load() > 1 {
			found, oldest = o, used
		}
	}
	return found
}
