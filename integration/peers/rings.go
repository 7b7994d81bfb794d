package main

import (
	"context"
	"errors"
	"time"

	"hbmfs/integration/peers/cclient"
	"hbmfs/integration/peers/load"
)

const (
	ringDepth    = 64
	batchThreads = 2
	// cTime is how long the C client does each of its kinds.
	cTime = 2 * time.Second
	// noAllocations is what an average over many operations may show of the client's
	// coming and going, in objects.
	noAllocations = 0.01
)

// ringRows are of what takes less than a system call for each item.
var ringRows = []row{
	{id: "files-ring", what: "files of ~112 KiB, shuffled, cold, by name: a ring, 64 under way", beside: byIoctlBefore, unit: thousands,
		rule: atLeast(8), needs: beforeTools, open: namesBesideBefore(load.RingFiles, 1, false)},
	{id: "files-ring-again", what: "the same, all resident", beside: byIoctlBefore, unit: thousands,
		rule: atLeast(15), needs: beforeTools, open: namesBesideBefore(load.RingFiles, 1, true)},
	{id: "files-batch", what: "the same files, cold: BATCH of 64, 2 threads", beside: byIoctlBefore, unit: thousands,
		rule: atLeast(8), needs: beforeTools, open: namesBesideBefore(load.BatchFiles, batchThreads, false)},
	{id: "files-batch-again", what: "the same, all resident", beside: byIoctlBefore, unit: thousands,
		rule: atLeast(15), needs: beforeTools, open: namesBesideBefore(load.BatchFiles, batchThreads, true)},
	{id: "128k-ring", what: "random 128 KiB, unaligned, cold: a ring, 64 under way", beside: byIoctlBefore, unit: thousands,
		rule: atLeast(6), needs: beforeTools, open: ringBesideBefore(bigSample)},
	{id: "128k-ring-plain", what: "the same", beside: "pread of the same mount, 8 threads", unit: thousands,
		rule: atLeast(2), open: besidePlain(ringPlan(load.RingSamples, bigSample), bigSample)},
	{id: "4k-ring", what: "random 4 KiB, unaligned, cold: a ring, 64 under way", beside: byIoctlBefore, unit: thousands,
		rule: atLeast(15), needs: beforeTools, open: ringBesideBefore(page)},
	{id: "4k-ring-plain", what: "the same", beside: "pread of the same mount, 8 threads", unit: thousands,
		rule: atLeast(3), open: besidePlain(ringPlan(load.RingSamples, page), page)},
	{id: "128k-into", what: "random 128 KiB, unaligned, cold: a ring, into memory of the program's", beside: "nbdfuse: pread, 8 threads", unit: thousands,
		rule: atLeast(3), needs: []string{nbdkitTool, nbdfuseTool}, open: intoBesideNBDFuse},
	{id: "hits-64", what: "resident 4 KiB, 1 thread in C: a ring, 64 under way", beside: singleIoctl, unit: thousands,
		rule: atLeast(40), needs: []string{cclient.Compiler}, open: cBesideIoctl(func(r cclient.Rates) float64 { return r.Deep })},
	{id: "hits-1", what: "the same, one under way", beside: singleIoctl, unit: thousands,
		rule: atLeast(2), needs: []string{cclient.Compiler}, open: cBesideIoctl(func(r cclient.Rates) float64 { return r.Single })},
	{id: "ring-cost", what: "allocations for each operation of a ring, resident", beside: "none, ±0.01", unit: objects,
		rule: within(1), open: openRingCost},
}

const (
	byIoctlBefore = beforeName + ", by ioctl, 8 threads"
	singleIoctl   = "FETCH that releases the one before"
)

// namesBesideBefore gets a dataset by its names, and that of before by opens: cold, or
// once more.
func namesBesideBefore(k load.Kind, threads int, again bool) func(context.Context, *stage) (pair, error) {
	return func(ctx context.Context, s *stage) (pair, error) {
		d, err := s.dataset(ctx)
		if err != nil {
			return pair{}, err
		}
		ours, peer := filesPlan(k, d, threads).deep(ringDepth), filesPlan(load.FetchFiles, d, loaderThreads)
		if again {
			ours, peer = ours.again(), peer.again()
		}
		p, err := s.besideBefore(ctx, d.source(), ours, peer)
		p.warm = d.warm
		return p, err
	}
}

// ringPlan takes ranges by a ring.
func ringPlan(k load.Kind, length int64) func(*stage) plan {
	return func(s *stage) plan { return s.samplesPlan(k, 1, length).deep(ringDepth) }
}

func ringBesideBefore(length int64) func(context.Context, *stage) (pair, error) {
	return samplesOfBefore(ringPlan(load.RingSamples, length), length)
}

func intoBesideNBDFuse(ctx context.Context, s *stage) (pair, error) {
	ours, err := s.hbmfsSide(ctx, s.hbmfs, s.samples())
	if err != nil {
		return pair{}, err
	}
	uri, err := s.startNBDKit(ctx)
	peer := &side{mount: func(ctx context.Context) (served, error) { return s.mountNBDFuse(ctx, uri) }}
	return pair{ours: ours.measure(ringPlan(load.RingInto, bigSample)(s)), peer: peer.measure(s.samplesPlan(load.ReadSamples, loaderThreads, bigSample)),
		warm: s.warm, costs: [2]*cost{&ours.cost, nil}, note: "each measurement on fresh mounts; default mount options of both"}, err
}

// cBesideIoctl measures the C client by itself: it does both in one run.
func cBesideIoctl(of func(cclient.Rates) float64) func(context.Context, *stage) (pair, error) {
	return func(ctx context.Context, s *stage) (pair, error) {
		program, err := cclient.Build(ctx, s.scratch)
		if err != nil {
			return pair{}, err
		}
		m, err := s.mountTCP(ctx, true)
		if err != nil {
			return pair{}, err
		}
		var r cclient.Rates
		return pair{ours: func(ctx context.Context) (_ float64, err error) {
			r, err = cclient.Run(ctx, program, m.path(fileName), cTime)
			return of(r), err
		}, peer: func(context.Context) (float64, error) { return r.Ioctl, nil }, warm: s.warm,
			note: "fs/client/c/examples/bench.c: both sides in one run of it, one after the other"}, nil
	}
}

// openRingCost measures what a resident operation takes of the daemon: objects, and CPU
// time.
func openRingCost(ctx context.Context, s *stage) (pair, error) {
	m, err := s.mountTCP(ctx, true)
	if err != nil {
		return pair{}, err
	}
	v := &side{}
	job := load.Job{Kind: load.RingHits, Threads: 1, Depth: ringDepth, Length: page}
	return pair{ours: func(ctx context.Context) (float64, error) { return v.allocations(ctx, m, job) }, peer: constant(noAllocations),
		warm: s.warm, costs: [2]*cost{&v.cost, nil}, note: "64 under way, each with the RELEASE of one before"}, nil
}

// allocations is how many objects the daemon allocates for each item of a job that was
// done once before.
func (v *side) allocations(ctx context.Context, m *hbmfsMount, j load.Job) (float64, error) {
	at := served{dir: m.dir, daemon: m.Process}
	_, _, err := v.step(ctx, at, []load.Job{j})
	before, asking, askErr := allocationsNow(m)
	if err = errors.Join(err, askErr); err != nil {
		return 0, err
	}
	j.For = hitTime
	r, cpu, err := v.step(ctx, at, []load.Job{j})
	if err = errors.Join(err, resident(r)); err != nil {
		return 0, err
	}
	v.cost.add(cpu, r.Items)
	after, _, err := allocationsNow(m)
	return (after - before - asking) / float64(r.Items), err
}
