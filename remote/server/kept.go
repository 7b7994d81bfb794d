package server

import (
	"context"
	"sync"
	"time"

	"hbmfs/remote/server/store"
	"hbmfs/remote/wire"
)

// lookForUnlinked is how often open files are looked at, whether a name still leads to
// them: one that no program has open any more would take the place of its content.
const lookForUnlinked = 10 * time.Second

// mayKeep is how many files a mount may keep open that no program has open any more:
// three quarters of what a client may have while it is alone, in files.
func (b *bounds) mayKeep() uint32 { return uint32(b.files.limit.All * 3 / 8) }

// crowd is when mounts were told last to close what they only keep, for one of them.
type crowd struct {
	mu sync.Mutex
	at time.Time
}

const (
	// crowdEvery bounds how often they are told.
	crowdEvery = 2 * time.Second
	// crowdWait is for how long after that an open waits for the room that they make.
	crowdWait = 300 * time.Millisecond
)

// begins reports whether to tell them now, and until when to wait for room then.
func (c *crowd) begins(now time.Time) (tell bool, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if tell = now.Sub(c.at) >= crowdEvery; tell {
		c.at = now
	}
	return tell, c.at.Add(crowdWait)
}

// makeRoom has mounts close what they only keep, for s was refused an open file, and
// reports whether it should try again.
func (s *session) makeRoom(ctx context.Context) bool {
	tell, until := s.crowd.begins(time.Now())
	if tell {
		s.target.crowd()
	}
	if !time.Now().Before(until) {
		return false
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(crowdWait / 20):
		return true
	}
}

// crowd has mounts close what they only keep.
func (t *Server) crowd() {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, s := range t.sessions {
		s.out.crowd()
	}
}

// watchUnlinked tells mounts of files that no name leads to any more, until the target
// is closed. It does not return while storage does not answer.
func (t *Server) watchUnlinked() {
	ticks := time.NewTicker(lookForUnlinked)
	defer ticks.Stop()
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-ticks.C:
			t.tellUnlinked()
		}
	}
}

func (t *Server) tellUnlinked() {
	t.mu.RLock()
	all := make([]*session, 0, len(t.sessions))
	for _, s := range t.sessions {
		all = append(all, s)
	}
	t.mu.RUnlock()
	for _, s := range all {
		for _, handle := range s.unlinked() {
			s.out.tell(&wire.Event{Unlinked: handle})
		}
	}
}

// unlinked returns those of the open files that no name leads to any more, each once.
func (s *session) unlinked() (found []uint64) {
	for _, handle := range s.settledHandles() {
		f := s.acquire(handle)
		if f == nil {
			continue
		}
		if o, ok := f.object.(store.Linked); ok && !o.Linked() && f.unlinked.CompareAndSwap(false, true) {
			found = append(found, handle)
		}
		f.release()
	}
	return found
}

// settledHandles are those of files that may be kept, and were not told of.
func (s *session) settledHandles() []uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]uint64, 0, len(s.handles))
	for handle, f := range s.handles {
		if f.settled && !f.unlinked.Load() {
			all = append(all, handle)
		}
	}
	return all
}
