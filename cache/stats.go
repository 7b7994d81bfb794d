package cache

import (
	"cmp"
	"slices"

	"hbmfs/fs/uapi"
	"hbmfs/transport"
)

// Stats counts what a cache did since it was made, and what is in it now. Bytes
// are those of the extents, without what a slot leaves unused.
type Stats struct {
	Fetches int64 `json:"fetches"` // that got a lease
	// Hits were resident, Misses started a transfer, Joined waited for one that
	// was under way already, Expected were there or under way since they were
	// prefetched, which is a miss too. All are extents.
	Hits      int64       `json:"hits"`
	Misses    int64       `json:"misses"`
	Joined    int64       `json:"joined"`
	Expected  int64       `json:"expected"`
	Asked     int64       `json:"asked"`     // bytes that leases covered
	Bytes     uapi.ByPath `json:"bytes"`     // that transfers brought
	Errors    int64       `json:"errors"`    // transfers that failed
	Overdue   int64       `json:"overdue"`   // transfers that were overdue
	Evictions int64       `json:"evictions"` // extents

	SlotBytes   int64 `json:"slot_bytes"`   // of what is resident, filling and quarantined, with what slots leave unused
	Leases      int64 `json:"leases"`       // held now
	LeasedBytes int64 `json:"leased_bytes"` // leased now, each extent counted once
	Resident    Usage `json:"resident"`
	Filling     Usage `json:"filling"`
	Quarantined Usage `json:"quarantined"`
	Regions     int   `json:"regions"` // in use; not the revoked ones
	RegionBytes int64 `json:"region_bytes"`

	Reserved      int   `json:"reserved"` // regions
	ReservedBytes int64 `json:"reserved_bytes"`
}

// Usage is how much is in one state.
type Usage struct {
	Extents int64 `json:"extents"`
	Bytes   int64 `json:"bytes"`
}

func (u *Usage) add(extents, bytes int64) {
	u.Extents += extents
	u.Bytes += extents * bytes
}

// UserStats is what one user has of one device, since the region was made.
type UserStats struct {
	UID         uint32  `json:"uid"`
	Device      uint32  `json:"device"`
	RegionBytes int64   `json:"region_bytes"`
	LeasedBytes int64   `json:"leased_bytes"` // now, each extent counted once
	Waits       int64   `json:"waits"`        // fetches that waited for room
	WaitSeconds float64 `json:"wait_seconds"` // how long, all those together that wait no more
	Waiting     int     `json:"waiting"`      // now
}

// mostUsers keeps what is told of users short.
const mostUsers = 100

// Users tells of the users who have a region, who has the most leased first, and of
// no more than 100.
func (c *Cache) Users() []UserStats {
	c.mu.Lock()
	all := make([]UserStats, 0, len(c.pools))
	for dom, p := range c.pools {
		if p.open && !p.isRevoked() {
			all = append(all, UserStats{
				UID: dom.UID, Device: dom.Device, RegionBytes: p.region.Size(), LeasedBytes: p.leased,
				Waits: p.waits, WaitSeconds: p.waited.Seconds(), Waiting: p.queue.Len(),
			})
		}
	}
	c.mu.Unlock()
	slices.SortFunc(all, func(a, b UserStats) int {
		return cmp.Or(cmp.Compare(b.LeasedBytes, a.LeasedBytes), cmp.Compare(a.UID, b.UID), cmp.Compare(a.Device, b.Device))
	})
	return all[:min(len(all), mostUsers)]
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
	case int(r.Path) < uapi.NumPaths:
		c.stats.Bytes[r.Path] += e.req.Dst.Len
	}
}
