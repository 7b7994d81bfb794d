package main

import (
	"context"
	"time"

	"hbmfs/integration/peers/procfs"
)

const (
	memoryPool   = 256 << 20
	memoryStream = 4 << 30
	memoryRoom   = 64 << 20 // what a daemon may need beside its pool
	sampleEvery  = 5 * time.Millisecond
)

// openMemory streams 4 GiB through a small pool and samples how much memory is
// resident in the daemon meanwhile. Its peer is the bound itself.
func openMemory(ctx context.Context, s *stage) (pair, error) {
	target, err := s.startTarget(ctx, "bench="+s.data)
	if err != nil {
		return pair{}, err
	}
	m, err := s.mountHbmfs(ctx, target+"/bench", memoryPool)
	if err != nil {
		return pair{}, err
	}
	ours := func(ctx context.Context) (float64, error) {
		return peakWhile(m.PID(), func() error { return s.stream(ctx, m, memoryStream) })
	}
	return pair{ours: ours, peer: constant(memoryPool + memoryRoom),
		note: "peak VmRSS of the mount's daemon, sampled every 5 ms; the pool is in it"}, nil
}

func constant(v float64) measure {
	return func(context.Context) (float64, error) { return v, nil }
}

// peakWhile samples a process's resident memory while work runs, and returns
// the greatest sample, in bytes.
func peakWhile(pid int, work func() error) (float64, error) {
	end, peak := make(chan struct{}), make(chan int64)
	go func() {
		var most int64
		for {
			if now, err := procfs.ResidentMemory(pid); err == nil {
				most = max(most, now)
			}
			select {
			case <-end:
				peak <- most
				return
			case <-time.After(sampleEvery):
			}
		}
	}()
	err := work()
	close(end)
	return float64(<-peak), err
}
