package main

import (
	"context"
	"fmt"
)

// sweepID is what --only calls the throughput against request size.
const sweepID = "sweep"

// requestSizes are the x axis of the plot, in bytes.
var requestSizes = []int64{4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20}

// sweepGap is left between the ranges of two request sizes, so that the
// read-ahead of one does not warm the next.
const sweepGap = 16 << 20

// sweepNote says how the points were taken.
var sweepNote = fmt.Sprintf("Sequential, cold. Lines: medians; bars: all rounds. Fetches: %d requests in flight, %s extents; plain reads: one reader.",
	inFlight, formatSize(extent))

// sweptPath is one line of the plot. open mounts and returns what measures a
// range of the file in requests of one size, in bytes a second.
type sweptPath struct {
	name string
	open func(context.Context, *stage) (rangeMeasure, error)
}

// line is one path's samples, one for each request size, in bytes a second.
type line struct {
	name   string
	points []sample
}

type rangeMeasure func(ctx context.Context, off, length, request int64) (float64, error)

var sweptPaths = []sweptPath{
	{"fetch, tcp, checksums off", sweepTCP(false)},
	{"fetch, tcp, checksums on", sweepTCP(true)},
	{"fetch, embedded", sweepEmbedded},
	{"plain read, tcp", sweepPlain},
}

// sweep measures every path at every request size, the paths in turn, each round
// on fresh mounts. Each size has a range of the file of its own: it is cold.
func (b *bench) sweep(ctx context.Context) ([]line, error) {
	lines := make([]line, len(sweptPaths))
	for i, p := range sweptPaths {
		lines[i] = line{name: p.name, points: make([]sample, len(requestSizes))}
	}
	for round := range b.rounds {
		for i, p := range sweptPaths {
			b.say(fmt.Sprintf("round %d of %d: %s", round+1, b.rounds, p.name))
			if err := b.warm(ctx); err != nil {
				return nil, err
			}
			if err := b.sweepPath(ctx, p, lines[i].points); err != nil {
				return nil, fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	return lines, nil
}

// sweepPath measures one path once at every request size.
func (b *bench) sweepPath(ctx context.Context, p sweptPath, points []sample) (err error) {
	st := &stage{bench: b}
	defer func() {
		if downErr := st.undo.run(); err == nil {
			err = downErr
		}
	}()
	take, err := p.open(ctx, st)
	if err != nil {
		return err
	}
	for i, request := range requestSizes {
		off, length := sweepRange(b.size, i)
		rate, err := take(ctx, off, length, request)
		if err != nil {
			return fmt.Errorf("requests of %s: %w", formatSize(request), err)
		}
		points[i] = append(points[i], rate)
	}
	return nil
}

// sweepRange is the part of the file that the i-th request size is measured on.
func sweepRange(size int64, i int) (off, length int64) {
	share := size / int64(len(requestSizes)) / sweepGap * sweepGap
	return int64(i) * share, share - sweepGap
}

func sweepTCP(checksums bool) func(context.Context, *stage) (rangeMeasure, error) {
	return func(ctx context.Context, s *stage) (rangeMeasure, error) {
		m, err := s.mountTCP(ctx, checksums)
		if err != nil {
			return nil, err
		}
		return s.fetchRange(m), s.scrub(ctx, m)
	}
}

func sweepEmbedded(ctx context.Context, s *stage) (rangeMeasure, error) {
	m, err := s.mountHbmfs(ctx, s.data, poolSize)
	if err != nil {
		return nil, err
	}
	return s.fetchRange(m), s.scrub(ctx, m)
}

func sweepPlain(ctx context.Context, s *stage) (rangeMeasure, error) {
	m, err := s.mountTCP(ctx, true)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, off, length, request int64) (float64, error) {
		return readRange(ctx, m.path(fileName), off, length, request)
	}, nil
}
