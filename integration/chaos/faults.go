package main

import (
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/integration/process"
)

// fault is something that happens to mounts, targets and networks.
type fault struct {
	name   string
	strike func(s *stage, b *board, lasting time.Duration) error
}

var faults = []fault{
	{"target killed", func(s *stage, b *board, d time.Duration) error {
		b.killed.Store(int64(now()))
		s.end(s.target, unix.SIGKILL)
		b.killed.Store(int64(now()))
		time.Sleep(d)
		return s.startTarget()
	}},
	{"target terminated", func(s *stage, _ *board, d time.Duration) error {
		s.end(s.target, unix.SIGTERM)
		time.Sleep(d)
		return s.startTarget()
	}},
	{"target stopped", func(s *stage, _ *board, d time.Duration) error { return stopped(s.target, d) }},
	{"mount stopped", func(s *stage, _ *board, d time.Duration) error { return stopped(s.mount, d) }},
	{"network cut", func(s *stage, _ *board, d time.Duration) error {
		heal := s.relay.Cut()
		defer heal()
		time.Sleep(d)
		return nil
	}},
	{"mount killed", func(s *stage, _ *board, _ time.Duration) error {
		s.end(s.mount, unix.SIGKILL)
		return s.startMount() // cleans up first
	}},
	{"mount detached", func(s *stage, _ *board, _ time.Duration) error {
		if err := unix.Unmount(s.mnt, unix.MNT_DETACH); err != nil {
			return err
		}
		s.detached = append(s.detached, s.mount)
		return s.startMount()
	}},
	{"mount terminated", func(s *stage, _ *board, _ time.Duration) error {
		s.end(s.mount, unix.SIGTERM)
		return s.startMount()
	}},
	{"memory taken away", func(s *stage, b *board, _ time.Duration) error {
		s.revoke(b)
		return nil
	}},
	{"reader killed", func(s *stage, b *board, d time.Duration) error {
		return s.killReader(b, int(d)%len(s.readers))
	}},
}

func stopped(p *process.Process, lasting time.Duration) error {
	p.Signal(unix.SIGSTOP)
	time.Sleep(lasting)
	p.Signal(unix.SIGCONT)
	return nil
}

// pick chooses a fault, and how long it lasts: around a term, mostly, and
// sometimes for much longer.
func pick(r *rand.Rand) (fault, time.Duration) {
	d := time.Duration(r.Int64N(int64(1200 * time.Millisecond)))
	if r.IntN(5) == 0 {
		d = time.Second + time.Duration(r.Int64N(int64(2*time.Second)))
	}
	return faults[r.IntN(len(faults))], d
}
