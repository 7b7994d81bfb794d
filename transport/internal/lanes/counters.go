package lanes

import (
	"sync/atomic"

	"hbmfs/transport"
)

// counters are what LinkStats is made of.
type counters struct {
	taken, finished, failed, bytes, lost, reconnects, waits atomic.Int64
}

// Stats implements [transport.Link].
func (l *Link) Stats() transport.LinkStats {
	finished := l.finished.Load()
	s := transport.LinkStats{
		Lost:       l.lost.Load(),
		Reconnects: l.reconnects.Load(),
		Waits:      l.waits.Load(),
		Requests:   finished,
		Errors:     l.failed.Load(),
		Bytes:      l.bytes.Load(),
		InFlight:   max(l.taken.Load()-finished, 0),
	}
	for range l.up {
		s.Connections++
	}
	return s
}

// Begin counts a request that goes by no lane, unless the link has ended. Close
// then waits for its End or Undo.
func (l *Link) Begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end != nil {
		return false
	}
	l.inFlight.Add(1)
	l.taken.Add(1)
	return true
}

// End counts how a request of n bytes ended that Begin counted.
func (l *Link) End(err error, n int64) {
	l.count(err, n)
	l.inFlight.Done()
}

// Undo takes back what Begin counted: the same comes again by a lane.
func (l *Link) Undo() {
	l.taken.Add(-1)
	l.inFlight.Done()
}

// complete ends requests. No lock may be held.
func (l *Link) complete(done []transport.Completion) {
	for i := range done {
		l.count(done[i].Err, payload(done[i].Request))
	}
	transport.Complete(done)
	l.inFlight.Add(-len(done))
}

// payload is how many bytes r brought, if it succeeded.
func payload(r *transport.Request) int64 {
	if r.Call != nil {
		return int64(len(r.Call.Answer))
	}
	return r.Dst.Len
}

func (l *Link) count(err error, n int64) {
	if err != nil {
		l.failed.Add(1)
	} else {
		l.bytes.Add(n)
	}
	l.finished.Add(1)
}
