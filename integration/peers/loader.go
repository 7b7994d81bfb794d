package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hbmfs/integration/peers/load"
	"hbmfs/integration/peers/past"
)

const (
	loaderThreads = 8 // of a worker, where a row does not say one
	samplePasses  = 4 // fresh mounts that one measurement of samples takes
	hitClients    = 64
	hitTime       = time.Second // of one measurement of resident ranges
	page          = 4 << 10
	bigSample     = 128 << 10
)

// loaderRows are what issue 12 is judged by.
var loaderRows = []row{
	{id: "files", what: "files of ~112 KiB, shuffled, cold: open, FETCH all, close; 8 threads", beside: beforeName, unit: thousands,
		rule: atLeast(3), needs: beforeTools, open: filesBesideBefore(loaderThreads)},
	{id: "files-1", what: "the same, 1 thread", beside: beforeName, unit: thousands,
		rule: atLeast(2.5), needs: beforeTools, open: filesBesideBefore(1)},
	{id: "files-gluster", what: "the same, 8 threads", beside: "GlusterFS, one brick: open, read, close", unit: thousands,
		rule: atLeast(4), needs: []string{glusterdTool, glusterTool, glusterfsdTool, glusterfsTool}, open: filesBesideGluster},
	{id: "files-again", what: "the same, 8 threads, all resident", beside: "no-op mount: LOOKUP, OPEN, ioctl, close", unit: thousands,
		rule: atLeast(0.6), open: filesBesideNoop},
	{id: "128k", what: "random 128 KiB, unaligned, cold, 8 threads", beside: beforeName, unit: thousands,
		rule: atLeast(3), needs: beforeTools, open: samplesBesideBefore(bigSample)},
	{id: "128k-plain", what: "the same", beside: "pread of the same mount", unit: thousands,
		rule: atLeast(1), open: samplesBesidePlain(bigSample)},
	{id: "4k", what: "random 4 KiB, unaligned, cold, 8 threads", beside: beforeName, unit: thousands,
		rule: atLeast(5), needs: beforeTools, open: samplesBesideBefore(page)},
	{id: "4k-plain", what: "the same", beside: "pread of the same mount", unit: thousands,
		rule: atLeast(0.8), open: samplesBesidePlain(page)},
	{id: "clients", what: "FETCH + RELEASE of a resident 4 KiB, 64 processes", beside: "1 process", unit: thousands,
		rule: atLeast(0.9), open: manyBesideOne},
}

// beforeName is what rows call the program of --before.
const beforeName = "before"

// source is what a side serves, and how it is mounted.
type source struct {
	dir  string
	pool int64 // bytes
	// prepare runs on each mount before anything is measured; or nil.
	prepare func(context.Context, *hbmfsMount) error
}

// source has a pool that holds a dataset.
func (d dataset) source() source { return source{dir: d.dir, pool: d.pool()} }

// samples has a pool that other bytes have filled: its memory was touched.
func (s *stage) samples() source { return source{dir: s.data, pool: poolSize, prepare: s.scrub} }

// hbmfsSide serves a source by a program, with its defaults, and mounts it afresh.
func (s *stage) hbmfsSide(ctx context.Context, program string, of source) (*side, error) {
	target, addr, err := s.serve(ctx, program, "bench="+of.dir)
	if err != nil {
		return nil, err
	}
	return &side{target: target, mount: func(ctx context.Context) (served, error) {
		m, err := s.mountWith(ctx, program, addr+"/bench", of.pool)
		if err != nil {
			return served{}, err
		}
		if of.prepare != nil {
			if err := of.prepare(ctx, m); err != nil {
				return served{}, errors.Join(err, m.close())
			}
		}
		return served{dir: m.dir, daemon: m.Process, unmount: m.close}, nil
	}}, nil
}

// filesPlan goes through a dataset once, on a fresh mount.
func filesPlan(k load.Kind, d dataset, threads int) plan {
	return plan{mounts: 1, steps: [][]load.Job{{{Kind: k, Threads: threads, Count: d.files, Seed: 1}}}, check: cold}
}

// again is p and then the same once more, in another order, which counts: all is
// resident then.
func (p plan) again() plan {
	second := p.steps[0][0]
	second.Seed++
	p.steps, p.check = append(p.steps, []load.Job{second}), resident
	return p
}

// deep has each thread have so many operations, or ranges, under way.
func (p plan) deep(depth int) plan {
	for _, jobs := range p.steps {
		for i := range jobs {
			jobs[i].Depth = depth
		}
	}
	return p
}

func filesBesideBefore(threads int) func(context.Context, *stage) (pair, error) {
	return func(ctx context.Context, s *stage) (pair, error) {
		d, err := s.dataset(ctx)
		if err != nil {
			return pair{}, err
		}
		plan := filesPlan(load.FetchFiles, d, threads)
		p, err := s.besideBefore(ctx, d.source(), plan, plan)
		p.warm = d.warm
		return p, err
	}
}

// besideBefore has this program and that of before do their plans.
func (s *stage) besideBefore(ctx context.Context, of source, ourPlan, peerPlan plan) (pair, error) {
	program, err := past.Program(ctx, s.before, s.scratch, s.say)
	if errors.Is(err, past.ErrNoCommit) {
		err = fmt.Errorf("%w: %w", errLeftOut, err)
	}
	if err != nil {
		return pair{}, err
	}
	ours, err := s.hbmfsSide(ctx, s.hbmfs, of)
	if err != nil {
		return pair{}, err
	}
	peer, err := s.hbmfsSide(ctx, program, of)
	if err != nil {
		return pair{}, err
	}
	return pair{ours: ours.measure(ourPlan), peer: peer.measure(peerPlan), costs: [2]*cost{&ours.cost, &peer.cost},
		note: fmt.Sprintf("before is %s; each measurement on fresh mounts (%d), with the program's defaults and a pool of %s",
			s.before, ourPlan.mounts, formatSize(of.pool))}, nil
}

func filesBesideGluster(ctx context.Context, s *stage) (pair, error) {
	d, err := s.dataset(ctx)
	if err != nil {
		return pair{}, err
	}
	ours, err := s.hbmfsSide(ctx, s.hbmfs, d.source())
	if err != nil {
		return pair{}, err
	}
	peer, err := s.gluster(ctx, d)
	if err != nil {
		return pair{}, err
	}
	plain := filesPlan(load.ReadFiles, d, loaderThreads)
	return pair{ours: ours.measure(filesPlan(load.FetchFiles, d, loaderThreads)), peer: peer.measure(plain), warm: d.warm,
		costs: [2]*cost{&ours.cost, &peer.cost}, note: "a volume of GlusterFS's defaults; each measurement on a fresh mount"}, nil
}

func filesBesideNoop(ctx context.Context, s *stage) (pair, error) {
	d, err := s.dataset(ctx)
	if err != nil {
		return pair{}, err
	}
	ours, err := s.hbmfsSide(ctx, s.hbmfs, d.source())
	if err != nil {
		return pair{}, err
	}
	once := filesPlan(load.FetchFiles, d, loaderThreads)
	again := once.again()
	once.check = resident
	peer := &side{mount: s.noopDataset(d)}
	return pair{ours: ours.measure(again), peer: peer.measure(once), warm: d.warm, costs: [2]*cost{&ours.cost, &peer.cost},
		note: "the second pass, in another order; the no-op mount answers the same client's calls with constants"}, nil
}

// samplesPlan takes ranges of so many bytes, each where nobody has been before.
func (s *stage) samplesPlan(k load.Kind, threads int, length int64) plan {
	return plan{mounts: samplePasses, check: cold,
		steps: [][]load.Job{{{Kind: k, Threads: threads, Count: load.SamplesIn(s.size), Seed: 1, Length: length}}}}
}

func samplesBesideBefore(length int64) func(context.Context, *stage) (pair, error) {
	return samplesOfBefore(fetchPlan(length), length)
}

// fetchPlan takes ranges by FETCH.
func fetchPlan(length int64) func(*stage) plan {
	return func(s *stage) plan { return s.samplesPlan(load.FetchSamples, loaderThreads, length) }
}

// samplesOfBefore is a plan beside FETCH of before.
func samplesOfBefore(ours func(*stage) plan, length int64) func(context.Context, *stage) (pair, error) {
	return func(ctx context.Context, s *stage) (pair, error) {
		p, err := s.besideBefore(ctx, s.samples(), ours(s), fetchPlan(length)(s))
		p.warm = s.warm
		return p, err
	}
}

func samplesBesidePlain(length int64) func(context.Context, *stage) (pair, error) {
	return besidePlain(fetchPlan(length), length)
}

// besidePlain is a plan beside plain reads of the same mount.
func besidePlain(ours func(*stage) plan, length int64) func(context.Context, *stage) (pair, error) {
	return func(ctx context.Context, s *stage) (pair, error) {
		fetch, err := s.hbmfsSide(ctx, s.hbmfs, s.samples())
		if err != nil {
			return pair{}, err
		}
		peer := &side{mount: fetch.mount, target: fetch.target}
		return pair{ours: fetch.measure(ours(s)), peer: peer.measure(s.samplesPlan(load.ReadSamples, loaderThreads, length)),
			warm: s.warm, costs: [2]*cost{&fetch.cost, &peer.cost}}, nil
	}
}

// manyBesideOne measures resident ranges by many processes and by one, on one
// mount. Each has a range of its own.
func manyBesideOne(ctx context.Context, s *stage) (pair, error) {
	served, err := s.hbmfsSide(ctx, s.hbmfs, source{dir: s.data, pool: poolSize})
	if err != nil {
		return pair{}, err
	}
	m, err := served.mount(ctx)
	if err != nil {
		return pair{}, err
	}
	s.undo.add(m.unmount)
	served.mount = m.again
	alone := &side{mount: m.again, target: served.target}
	return pair{ours: served.measure(hitsPlan(hitClients)), peer: alone.measure(hitsPlan(1)), warm: s.warm,
		costs: [2]*cost{&served.cost, &alone.cost}, note: "bare ioctls, each process with a range of its own"}, nil
}

// again is a mount that is there, and stays.
func (m served) again(context.Context) (served, error) {
	m.unmount = func() error { return nil }
	return m, nil
}

// hitsPlan has each client fetch its range once, and then for a while.
func hitsPlan(clients int64) plan {
	var first, then []load.Job
	for i := range clients {
		j := load.Job{Kind: load.FetchHits, Threads: 1, Length: page, Offset: i * extent}
		first = append(first, j)
		j.For = hitTime
		then = append(then, j)
	}
	return plan{mounts: 1, steps: [][]load.Job{first, then}, check: resident}
}
