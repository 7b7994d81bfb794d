package main

import (
	"context"
	"fmt"
)

// allocationNoise is what one extent may cost before it counts: timers, the
// answer to the question itself, and pools that the garbage collector empties.
const allocationNoise = 0.1

// openAllocations measures how many objects the daemon allocates to bring an
// extent: what a FETCH of an extent costs beyond a FETCH of one that is resident,
// which is what go-fuse and the lease cost.
func openAllocations(ctx context.Context, s *stage) (pair, error) {
	m, err := s.mountTCP(ctx, true)
	if err != nil {
		return pair{}, err
	}
	return pair{ours: func(ctx context.Context) (float64, error) { return s.allocationsPerExtent(ctx, m) },
		peer: constant(allocationNoise),
		note: "tcp, checksums on, by the daemon's own count; a FETCH of an extent less a FETCH of one that is resident"}, nil
}

// allocationsPerExtent fetches as many extents as the pool holds, cold and then
// resident, one to a FETCH. Both passes make the same calls.
func (s *stage) allocationsPerExtent(ctx context.Context, m *hbmfsMount) (float64, error) {
	if err := s.scrub(ctx, m); err != nil {
		return 0, err
	}
	extents := min(int64(s.size), poolSize) / extent
	cold, err := s.allocationsOf(ctx, m, extents)
	if err != nil {
		return 0, err
	}
	resident, err := s.allocationsOf(ctx, m, extents)
	s.say(fmt.Sprintf("%.2f allocations a cold FETCH, %.2f a resident one", cold, resident))
	return max(cold-resident, 0), err
}

// allocationsOf is how many objects the daemon allocates for each FETCH of one
// of the file's first extents, without those for asking.
func (s *stage) allocationsOf(ctx context.Context, m *hbmfsMount, extents int64) (float64, error) {
	before, asking, err := allocationsNow(m)
	if err != nil {
		return 0, err
	}
	if _, err := s.fetch(ctx, m, 0, extents*extent, extent); err != nil {
		return 0, err
	}
	after, _, err := allocationsNow(m)
	return (after - before - asking) / float64(extents), err
}

// allocationsNow is how many objects the daemon has allocated, and how many it
// allocates to say so.
func allocationsNow(m *hbmfsMount) (now, asking float64, err error) {
	first, err := m.allocations()
	if err != nil {
		return 0, 0, err
	}
	second, err := m.allocations()
	return second, second - first, err
}
