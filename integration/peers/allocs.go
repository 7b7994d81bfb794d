package main

import (
	"context"
	"fmt"
)

const (
	// allocationNoise is what an average may hide: timers, and pools that the
	// garbage collector empties. An object for each extent would show as 1.
	allocationNoise = 0.5
	// smallExtent makes many extents of few bytes, for an average over many.
	smallExtent = 64 << 10
)

// openAllocations measures how many objects the daemon allocates to bring an
// extent: what a FETCH of an extent costs beyond a FETCH of one that is resident,
// which is what go-fuse and the lease cost.
func openAllocations(ctx context.Context, s *stage) (pair, error) {
	m, err := s.mountTCP(ctx, true, fmt.Sprintf("--extent=%d", smallExtent))
	if err != nil {
		return pair{}, err
	}
	return pair{ours: func(ctx context.Context) (float64, error) { return s.allocationsPerExtent(ctx, m) },
		peer: constant(allocationNoise), warm: s.warm,
		note: "tcp, checksums on, 64KiB extents, by the daemon's own count; a FETCH of an extent less a FETCH of one that is resident"}, nil
}

// allocationsPerExtent fetches half of what the pool holds, cold and then
// resident, an extent to a FETCH. Both passes make the same calls.
func (s *stage) allocationsPerExtent(ctx context.Context, m *hbmfsMount) (float64, error) {
	if err := s.scrub(ctx, m); err != nil {
		return 0, err
	}
	cold, err := s.allocationsOf(ctx, m)
	if err != nil {
		return 0, err
	}
	resident, err := s.allocationsOf(ctx, m)
	s.say(fmt.Sprintf("%.2f allocations a cold FETCH, %.2f a resident one", cold, resident))
	return cold - resident, err
}

// allocationsOf is how many objects the daemon allocates for each FETCH of one
// of the file's first extents, without those for asking.
func (s *stage) allocationsOf(ctx context.Context, m *hbmfsMount) (float64, error) {
	before, asking, err := allocationsNow(m)
	if err != nil {
		return 0, err
	}
	const bytes = poolSize / 2
	if _, err := s.fetch(ctx, m, 0, bytes, smallExtent); err != nil {
		return 0, err
	}
	after, _, err := allocationsNow(m)
	return (after - before - asking) / (bytes / smallExtent), err
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
