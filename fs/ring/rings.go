package ring

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"hbmfs/transport/limits"
)

// minCost is what a ring counts as at least, in entries: it has a thread.
const minCost = 256

// maxUnderWay is how many operations of a ring are under way at the same time.
const maxUnderWay = 128

// maxIdle is how many goroutines of all rings wait for operations to begin.
const maxIdle = 128

// Config is what the rings of a mount share.
type Config struct {
	// Limit bounds the entries of rings by user, where a ring counts as 256 at least;
	// Operations those of their operations that are under way.
	Limit, Operations *limits.Limit
	// Clock is what files take the time by at which something was submitted. It is asked
	// once for all that is taken together.
	Clock func() time.Duration
	// Errno maps errors of this package, which wrap those of uapi or limits.
	Errno func(error) syscall.Errno
}

// Rings are the rings of a mount, by number.
type Rings struct {
	cfg        Config
	operations atomic.Int64
	hits       atomic.Int64
	finished   sync.WaitGroup
	idle       atomic.Int64 // goroutines that have no operation

	mu   sync.Mutex
	by   map[uint32]*Ring
	last uint32 // number given out
}

// NewRings returns no rings.
func NewRings(cfg Config) *Rings { return &Rings{cfg: cfg, by: make(map[uint32]*Ring)} }

// Stats count rings and their operations.
type Stats struct {
	Open       int   `json:"open"`       // now
	Operations int64 `json:"operations"` // that were taken
	Hits       int64 `json:"hits"`       // of them, fetches of what was in device memory, answered at once
}

// Stats returns what there is, and was.
func (a *Rings) Stats() Stats {
	a.mu.Lock()
	defer a.mu.Unlock()
	return Stats{Open: len(a.by), Operations: a.operations.Load(), Hits: a.hits.Load()}
}

// New makes a ring and begins to serve it, until [Ring.Close]. The descriptors are for its
// program, and the caller's: the memory, the eventfd that wakes the ring, and the one that
// wakes the program. The error wraps [limits.ErrLimit], or a kernel's errno.
func (a *Rings) New(who Owner, entries, nameBytes uint32) (r *Ring, fds []int, err error) {
	user := fmt.Sprintf("uid %d", who.UID)
	share, err := a.cfg.Limit.Take(user, max(int64(entries), minCost))
	if err != nil {
		return nil, nil, err
	}
	r = &Ring{Owner: who, all: a, share: share, number: a.nextNumber()}
	if r.mem, err = newMemory(r.number, entries, nameBytes); err != nil {
		share.Leave()
		return nil, nil, err
	}
	if fds, err = r.mem.descriptors(); err != nil {
		r.mem.close()
		share.Leave()
		return nil, nil, err
	}
	r.turn = a.cfg.Operations.Join(user, maxUnderWay)
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.queued.L = &r.mu
	r.ready = make(chan *operation)
	a.start(r)
	return r, fds, nil
}

func (a *Rings) start(r *Ring) {
	a.mu.Lock()
	a.by[r.number] = r
	a.mu.Unlock()
	a.finished.Add(1)
	r.running.Go(r.serve)
	r.running.Go(r.begin)
}

func (a *Rings) nextNumber() uint32 {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last++
	return a.last
}

// Of returns a user's ring by its number. The error is ENOENT or EACCES.
func (a *Rings) Of(uid, number uint32) (*Ring, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch r := a.by[number]; {
	case r == nil:
		return nil, syscall.ENOENT
	case r.UID != uid:
		return nil, syscall.EACCES
	default:
		return r, nil
	}
}

// Revoked tells a user's programs that memory of his was taken away. It does not wait for them.
func (a *Rings) Revoked(uid uint32) {
	a.mu.Lock()
	var his []*Ring
	for _, r := range a.by {
		if r.UID == uid {
			his = append(his, r)
		}
	}
	a.mu.Unlock()
	for _, r := range his {
		r.revoked()
	}
}

func (a *Rings) remove(r *Ring) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.by, r.number)
}
