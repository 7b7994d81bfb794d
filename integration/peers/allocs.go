package main

import (
	"context"
	"fmt"
)

// allocationNoise is what one extent may cost before it counts: timers, the
// answer to the question itself, and pools that the garbage collector empties.
const allocationNoise = 0.1

// openAllocations measures how many objects the daemon allocates for an extent,
// apart from those for a FETCH and a RELEASE, which is where go-fuse allocates.
func openAllocations(ctx context.Context, s *stage) (pair, error) {
	m, err := s.mountTCP(ctx, true)
	if err != nil {
		return pair{}, err
	}
	if err := s.scrub(ctx, m); err != nil {
		return pair{}, err
	}
	return pair{ours: func(ctx context.Context) (float64, error) { return s.allocationsPerExtent(ctx, m) },
		peer: constant(allocationNoise),
		note: "tcp, checksums on; the daemon's own count (stat), in windows of 16 extents against windows of 1; 0 within the noise is clipped to 0"}, nil
}

// allocationsPerExtent fetches the file twice, by windows of 16 extents and of
// one. Both passes move the same extents, and differ in how many calls they
// take, so the difference is what a call costs; the rest of the pass by large
// windows, spread over its extents, is what an extent costs.
func (s *stage) allocationsPerExtent(ctx context.Context, m *hbmfsMount) (float64, error) {
	many, err := s.allocationsOf(ctx, m, extent)
	if err != nil {
		return 0, err
	}
	few, err := s.allocationsOf(ctx, m, 16*extent)
	if err != nil {
		return 0, err
	}
	size := float64(s.size)
	perCall := (many - few) / (size/extent - size/(16*extent))
	perExtent := (few - perCall*size/(16*extent)) / (size / extent)
	s.say(fmt.Sprintf("%.1f allocations a FETCH and RELEASE, %.3f an extent", perCall, perExtent))
	return max(perExtent, 0), nil
}

// allocationsOf is how many objects the daemon allocates while the file is
// fetched by windows of one size, without those for asking.
func (s *stage) allocationsOf(ctx context.Context, m *hbmfsMount, window int64) (float64, error) {
	before, asking, err := allocationsNow(m)
	if err != nil {
		return 0, err
	}
	if _, err := s.fetch(ctx, m, 0, int64(s.size), window); err != nil {
		return 0, err
	}
	after, _, err := allocationsNow(m)
	return after - before - asking, err
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
