package main

import (
	"context"
	"errors"
	"fmt"

	"hbmfs/integration/peers/load"
	"hbmfs/integration/process"
)

// side is one side of a row of loaders: workers on fresh mounts.
type side struct {
	mount  func(context.Context) (served, error)
	target *process.Process // nil: the mount's daemon is all there is
	cost   cost
}

// plan is what one measurement of a side does: on each of so many fresh mounts all
// steps, of which the last counts. A step is jobs that are done side by side, each
// in a process of its own.
type plan struct {
	mounts int
	steps  [][]load.Job
	check  func(load.Report) error // of the step that counts
}

// measure measures items a second.
func (v *side) measure(p plan) measure {
	return func(ctx context.Context) (float64, error) {
		var sum load.Report
		var cpu cpuTimes
		for range p.mounts {
			r, spent, err := v.pass(ctx, p)
			if err != nil {
				return 0, err
			}
			sum.Add(r)
			cpu.add(spent)
		}
		v.cost.add(cpu, sum.Items)
		return float64(sum.Items) / sum.Took.Seconds(), nil
	}
}

// pass does all steps on one mount.
func (v *side) pass(ctx context.Context, p plan) (r load.Report, cpu cpuTimes, err error) {
	m, err := v.mount(ctx)
	if err != nil {
		return r, cpu, err
	}
	defer func() {
		if downErr := m.unmount(); err == nil {
			err = downErr
		}
	}()
	for _, jobs := range p.steps {
		if r, cpu, err = v.step(ctx, m, jobs); err != nil {
			return r, cpu, err
		}
	}
	return r, cpu, p.check(r)
}

// step does jobs side by side, and tells what they took of the processes.
func (v *side) step(ctx context.Context, m served, jobs []load.Job) (r load.Report, cpu cpuTimes, err error) {
	placed := make([]load.Job, len(jobs))
	for i, j := range jobs {
		placed[i] = j
		placed[i].Dir = m.dir
	}
	c, err := load.Hire(ctx, placed...)
	if err != nil {
		return r, cpu, err
	}
	defer func() { err = errors.Join(err, c.Dismiss()) }()
	before, err := v.serversCPU(m)
	if err != nil {
		return r, cpu, err
	}
	if r, err = c.Work(ctx); err != nil {
		return r, cpu, err
	}
	after, err := v.serversCPU(m)
	return r, cpuTimes{client: r.CPU, daemon: after.daemon - before.daemon, target: after.target - before.target}, err
}

// serversCPU is the CPU time so far of those who serve.
func (v *side) serversCPU(m served) (t cpuTimes, err error) {
	if t.daemon, err = cpuOf(m.daemon); err != nil {
		return t, err
	}
	t.target, err = cpuOf(v.target)
	return t, err
}

// coldEnough is how much of what is fetched cold may be in the pool, as a fraction:
// a FETCH that a signal of Go's runtime broke off is made again, and by then its
// bytes may have come.
const coldEnough = 0.02

// cold checks that next to nothing was in the pool; a plain read never says so.
func cold(r load.Report) error {
	if float64(r.Hits) > coldEnough*float64(r.Bytes) {
		return fmt.Errorf("%w: %d of %d bytes were in the pool", errWarm, r.Hits, r.Bytes)
	}
	return nil
}

// errCold says that a fetch brought bytes that were to be in the pool.
var errCold = errors.New("fetch was not of resident bytes")

// resident checks that all of it was in the pool.
func resident(r load.Report) error {
	if r.Hits < r.Bytes {
		return fmt.Errorf("%w: %d of %d bytes were in the pool", errCold, r.Hits, r.Bytes)
	}
	return nil
}
