package cache

import "hbmfs/transport"

// Paths is the number of [transport.Path] values.
const Paths = int(transport.PathRDMA) + 1

// Stats counts what a cache did since it was made, and what is in it now. Bytes
// are those of the extents, without what a slot leaves unused.
type Stats struct {
	Fetches int64 // that got a lease
	// Hits were resident, Misses started a transfer, Joined waited for one that
	// was under way already. All are extents.
	Hits, Misses, Joined int64
	Bytes                [Paths]int64 // that transfers brought, by transport.Path
	Errors               int64        // transfers that failed
	Overdue              int64        // transfers that were overdue
	Evictions            int64        // extents

	Leases      int64 // held now
	PinnedBytes int64 // leased now, each extent counted once
	Resident    Usage
	Filling     Usage
	Quarantined Usage
	Regions     int // in use; not the revoked ones
	RegionBytes int64
}

// Usage is how much is in one state.
type Usage struct{ Extents, Bytes int64 }

func (u *Usage) add(extents, bytes int64) {
	u.Extents += extents
	u.Bytes += extents * bytes
}

// Stats returns the counters as they are at one moment.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Resident, s.Filling, s.Quarantined = c.usage[resident], c.usage[filling], c.usage[quarantined]
	for _, p := range c.pools {
		if p.open && !p.isRevoked() {
			s.Regions++
			s.RegionBytes += p.region.Size()
		}
	}
	return s
}

// count counts how a transfer ended. With mu.
func (c *Cache) count(e *extent, r transport.Result) {
	switch {
	case r.Err != nil:
		c.stats.Errors++
	case int(r.Path) < Paths:
		c.stats.Bytes[r.Path] += e.req.Dst.Len
	}
}
