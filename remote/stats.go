package remote

import (
	"sync/atomic"

	"hbmfs/transport"
)

// Stats counts what happened since [Connect].
type Stats struct {
	// Link is of all links; Connections and InFlight are of the current one.
	Link       transport.LinkStats `json:"link"`
	Sessions   int64               `json:"sessions"`    // opened
	RoundTrips int64               `json:"round_trips"` // control calls answered
	Requests   int64               `json:"requests"`    // that ended
	Retries    int64               `json:"retries"`     // of requests, issued again
	Errors     int64               `json:"errors"`      // requests that ended with an error
	Bytes      transport.ByPath    `json:"bytes"`       // payload that came
}

type counters struct {
	sessions, roundTrips, requests, retries, errors atomic.Int64
	bytes                                           [transport.Paths]atomic.Int64
}

func (c *counters) ended(res *transport.Result, n int64) {
	c.requests.Add(1)
	if res.Err != nil {
		c.errors.Add(1)
	} else if int(res.Path) < transport.Paths {
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
	a.Lost += b.Lost
	a.Reconnects += b.Reconnects
	a.Waits += b.Waits
	a.Requests += b.Requests
	a.Errors += b.Errors
	a.Bytes += b.Bytes
	a.InFlight += b.InFlight
	a.Registrations.Hits += b.Registrations.Hits
	a.Registrations.Misses += b.Registrations.Misses
	a.Registrations.Evictions += b.Registrations.Evictions
	a.Registrations.Bytes += b.Registrations.Bytes
	if b.Registrations.How != "" {
		a.Registrations.How = b.Registrations.How
	}
	a.Devmem = addDevmem(a.Devmem, b.Devmem)
	return a
}

func addDevmem(a, b transport.DevmemStats) transport.DevmemStats {
	a.DeviceBytes += b.DeviceBytes
	a.HostBytes += b.HostBytes
	a.LinearBytes += b.LinearBytes
	a.Fragments += b.Fragments
	a.Recvmsgs += b.Recvmsgs
	a.TokenCalls += b.TokenCalls
	a.Tokens += b.Tokens
	return a
}
