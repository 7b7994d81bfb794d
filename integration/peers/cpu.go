package main

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/integration/process"
)

// processCPU is the CPU time of a process so far, all of its threads together.
func processCPU(pid int) (time.Duration, error) {
	// clock_getcpuclockid(3): the number of a process's clock.
	const cpuClockSched = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|cpuClockSched), &ts); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// cpuOf is the CPU time of a process that may be nil.
func cpuOf(p *process.Process) (time.Duration, error) {
	if p == nil {
		return 0, nil
	}
	return processCPU(p.PID())
}

// cpuTimes is what a piece of work took of each process.
type cpuTimes struct{ client, daemon, target time.Duration }

func (t *cpuTimes) add(o cpuTimes) {
	t.client += o.client
	t.daemon += o.daemon
	t.target += o.target
}

// cost is the CPU time that a side of a row took for each item, in seconds, by
// rounds.
type cost struct{ client, daemon, target sample }

func (c *cost) add(t cpuTimes, items int64) {
	per := func(d time.Duration) float64 { return d.Seconds() / float64(items) }
	c.client = append(c.client, per(t.client))
	c.daemon = append(c.daemon, per(t.daemon))
	c.target = append(c.target, per(t.target))
}

// counted is c without the round that does not count.
func (c *cost) counted() *cost {
	if c == nil || len(c.client) == 0 {
		return nil
	}
	return &cost{c.client[1:], c.daemon[1:], c.target[1:]}
}

// String is the medians and their sum, without those who had no part.
func (c *cost) String() string {
	var parts []string
	var sum float64
	for _, p := range []struct {
		who string
		s   sample
	}{{"client", c.client}, {"daemon", c.daemon}, {"target", c.target}} {
		if m := p.s.median(); m > 0 {
			parts = append(parts, fmt.Sprintf("%s %.0f", p.who, m/micros.per))
			sum += m
		}
	}
	return fmt.Sprintf("%s = %.0f µs", strings.Join(parts, " + "), sum/micros.per)
}
