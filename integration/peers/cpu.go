package main

import (
	"fmt"
	"strings"
	"time"

	"hbmfs/integration/peers/procfs"
	"hbmfs/integration/process"
)

// cpuOf is the CPU time of a process that may be nil.
func cpuOf(p *process.Process) (time.Duration, error) {
	if p == nil {
		return 0, nil
	}
	return procfs.CPU(p.PID())
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
			parts = append(parts, p.who+" "+formatMicros(m))
			sum += m
		}
	}
	return fmt.Sprintf("%s = %s µs", strings.Join(parts, " + "), formatMicros(sum))
}

// formatMicros writes seconds as microseconds, with two places if they are few.
func formatMicros(s float64) string {
	if s < 10*micros.per {
		return fmt.Sprintf("%.2f", s/micros.per)
	}
	return fmt.Sprintf("%.0f", s/micros.per)
}
