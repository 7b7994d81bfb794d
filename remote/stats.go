package remote

import (
	"sync/atomic"
	"time"

	"hbmfs/fs/uapi"
	"hbmfs/remote/links"
	"hbmfs/transport"
)

// Stats counts what happened since [Connect].
type Stats struct {
	// Link is of all links; Connections and InFlight are of the current ones. Links
	// are the same by the names of the transports.
	Link       transport.LinkStats            `json:"link"`
	Links      map[string]transport.LinkStats `json:"links"`
	Sessions   int64                          `json:"sessions"`    // opened
	RoundTrips int64                          `json:"round_trips"` // asks and control calls answered
	Renewals   int64                          `json:"renewals"`    // of the mount's term, answered
	Requests   int64                          `json:"requests"`    // that ended
	Retries    int64                          `json:"retries"`     // of requests and asks, issued again
	Errors     int64                          `json:"errors"`      // requests that ended with an error
	Bytes      uapi.ByPath                    `json:"bytes"`       // payload that came
	Opens      int64                          `json:"opens"`       // of files at the target, some with their lookup
	Reopens    int64                          `json:"reopens"`     // of files that were still open there, though closed
	Unasked    int64                          `json:"unasked"`     // of those, opened without a message since their names are delegated
	Delegated  int                            `json:"delegated"`   // names that the target recalls before they lead elsewhere
	Kept       int                            `json:"kept"`        // files that no program has open, and the target has
	KeptRoom   int                            `json:"kept_room"`   // how many of those there may be
	Addr       string                         `json:"address"`     // of the target
	// UndelegatedWhy is why the latest name that the target was to delegate is not, or why
	// no name of a dataset can be.
	UndelegatedWhy string `json:"undelegated_why,omitempty"`
	// AwaySince is when the target was found to be away, and AwayWhy what it was
	// found by; nil while it is not. What is resident can't be vouched for then.
	AwaySince *time.Time `json:"away_since,omitempty"`
	AwayWhy   string     `json:"away_why,omitempty"`
}

type counters struct {
	sessions, roundTrips, renewals, requests, retries, errors, opens, reopens, unasked atomic.Int64
	undelegated                                                                        atomic.Pointer[string]
	bytes                                                                              [uapi.NumPaths]atomic.Int64
}

func (c *counters) ended(res *transport.Result, n int64) {
	c.requests.Add(1)
	if res.Err != nil {
		c.errors.Add(1)
	} else if int(res.Path) < uapi.NumPaths {
		c.bytes[res.Path].Add(n)
	}
}

// Stats returns the counters.
func (t *Target) Stats() Stats {
	s := Stats{
		Sessions:   t.counters.sessions.Load(),
		RoundTrips: t.counters.roundTrips.Load(),
		Renewals:   t.counters.renewals.Load(),
		Requests:   t.counters.requests.Load(),
		Retries:    t.counters.retries.Load(),
		Errors:     t.counters.errors.Load(),
		Opens:      t.counters.opens.Load(),
		Reopens:    t.counters.reopens.Load(),
		Unasked:    t.counters.unasked.Load(),
		Kept:       t.kept.Len(),
		KeptRoom:   t.kept.Room(),
		Addr:       t.cfg.Addr,
	}
	for i := range s.Bytes {
		s.Bytes[i] = t.counters.bytes[i].Load()
	}
	s.AwaySince, s.AwayWhy = t.away()
	s.Delegated, s.UndelegatedWhy = t.delegations()
	s.Links = make(map[string]transport.LinkStats)
	for i, l := range t.sessions.LinkStats() {
		if l != (transport.LinkStats{}) {
			s.Links[t.cfg.Candidates[i].Name] = l
			s.Link = links.Sum(s.Link, l)
		}
	}
	return s
}
