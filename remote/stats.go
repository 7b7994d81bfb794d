package remote

import (
	"sync/atomic"

	"hbmfs/transport"
)

const pathCount = int(transport.PathRDMA) + 1

// Stats counts what happened since [Connect].
type Stats struct {
	Link       transport.LinkStats // of all links; Connections and InFlight of the current one
	Sessions   int64               // opened
	RoundTrips int64               // control calls answered
	Requests   int64               // that ended
	Retries    int64               // of requests, issued again
	Errors     int64               // requests that ended with an error
	// Bytes is the payload that came, by [transport.Path].
	Bytes [pathCount]int64
}

type counters struct {
	sessions, roundTrips, requests, retries, errors atomic.Int64
	bytes                                           [pathCount]atomic.Int64
}

func (c *counters) ended(res *transport.Result, n int64) {
	c.requests.Add(1)
	if res.Err != nil {
		c.errors.Add(1)
	} else if int(res.Path) < pathCount {
		c.bytes[res.Path].Add(n)
	}
}

// Stats returns the counters.
func (t *Target) Stats() Stats {
	s := Stats{
		Sessions:   t.counters.sessions.Load(),
		RoundTrips: t.counters.roundTrips.Load(),
		Requests:   t.counters.requests.Load(),
		Retries:    t.counters.retries.Load(),
		Errors:     t.counters.errors.Load(),
	}
	for i := range s.Bytes {
		s.Bytes[i] = t.counters.bytes[i].Load()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s.Link = t.past
	if t.cur != nil {
		s.Link = addLink(s.Link, t.cur.link.Stats())
	}
	return s
}

func addLink(a, b transport.LinkStats) transport.LinkStats {
	a.Connections += b.Connections
	a.Reconnects += b.Reconnects
	a.Requests += b.Requests
	a.Errors += b.Errors
	a.Bytes += b.Bytes
	a.InFlight += b.InFlight
	return a
}
