package loader

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"hbmfs/fs/client"
)

// ahead is how many batches each worker may be ahead of the consumer.
const ahead = 2

// wholeChecks is one in how many samples are compared word by word.
const wholeChecks = 16

// Config says what is played.
type Config struct {
	Set     *Set
	Workers int
	Seed    uint64
	// Source is the set's directory as the user knows it, for errors; "": that in the
	// mount.
	Source string
	// Taken is called with the bytes of each batch that the consumer has taken.
	Taken func(bytes int64)
}

// Via is a mount, and the way that samples are got from it.
type Via struct {
	Way   Way
	Dir   string // of the set, in the mount
	Mount *client.Mount
	Info  client.Info
	// Brought asks the mount how many bytes its transports have brought so far.
	Brought func() (int64, error)
}

// playing is one epoch under way.
type playing struct {
	Config
	via    Via
	checks bool
	reader epochReader

	order   []uint32
	next    atomic.Int64    // the batch that is to be begun next
	credits chan struct{}   // one for each batch that is begun and not taken
	ready   []chan struct{} // batch i is ready by ready[i%len(ready)]
	workers []sampleReader
}

// Play plays one epoch, and returns what came of it. Wrong bytes are an error that
// wraps [ErrWrong].
func Play(ctx context.Context, c Config, via Via, epoch int) (Epoch, error) {
	p := &playing{Config: c, via: via}
	p.checks = c.Set.Tagged && (!via.Way.device || len(via.Info.Devices) > 0 && via.Info.Devices[0].CPU)
	p.order = Order(c.Seed, epoch, c.Set.Samples())
	before, err := via.Brought()
	if err != nil {
		return Epoch{}, err
	}
	total, err := p.run(ctx)
	if err != nil {
		return Epoch{}, err
	}
	after, err := via.Brought()
	if err != nil {
		return Epoch{}, err
	}
	e := Epoch{Via: via.Way.Name, Epoch: epoch, device: via.Way.device}
	for _, w := range p.workers {
		e.sum.add(w.tally())
	}
	e.batches, e.compute, e.total, e.brought = p.batches(), c.Set.Workload.Compute, total, after-before
	return e.finish(), nil
}

func (p *playing) batches() int {
	return (len(p.order) + p.Set.Workload.Batch - 1) / p.Set.Workload.Batch
}

// run has workers prefetch batches for a consumer, and returns how long all took.
func (p *playing) run(ctx context.Context) (total time.Duration, err error) {
	p.reader = p.via.Way.begin(p)
	defer func() { err = errors.Join(err, p.reader.Close()) }()
	p.credits = make(chan struct{}, ahead*p.Workers)
	p.ready = make([]chan struct{}, ahead*p.Workers)
	for i := range p.ready {
		p.ready[i] = make(chan struct{}, 1)
	}
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for range p.Workers {
		w := p.reader.worker()
		p.workers = append(p.workers, w)
		group.Go(func() error { return errors.Join(p.work(ctx, w), w.Close()) })
	}
	group.Go(func() error {
		defer func() { total = time.Since(began) }()
		return p.consume(ctx)
	})
	return total, group.Wait()
}

// work gets batches until there are no more.
func (p *playing) work(ctx context.Context, w sampleReader) error {
	var batch []wanted
	for {
		select {
		case p.credits <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		i := int(p.next.Add(1)) - 1
		if i >= p.batches() {
			return nil
		}
		batch = batch[:0]
		for _, number := range p.batch(i) {
			all := mix(p.Seed, uint64(number))%wholeChecks == 0
			batch = append(batch, wanted{p.Set.Sample(int(number), p.Seed), all})
		}
		if err := w.get(ctx, batch); err != nil {
			return err
		}
		p.ready[i%len(p.ready)] <- struct{}{}
	}
}

// batch is the samples of batch i.
func (p *playing) batch(i int) []uint32 {
	size := p.Set.Workload.Batch
	return p.order[i*size : min(len(p.order), (i+1)*size)]
}

// wrong says of which file bytes are wrong, and what helps if it is damaged.
func (p *playing) wrong(file int, err error) error {
	dir, at := p.via.Dir, " at the mount's source"
	if p.Source != "" {
		dir, at = p.Source, ""
	}
	return fmt.Errorf("%s: %w; if the file itself is damaged, delete it%s, and --make makes it anew", p.Set.path(dir, file), err, at)
}

// consume takes batches in their order, and computes on each.
func (p *playing) consume(ctx context.Context) error {
	for i := range p.batches() {
		select {
		case <-p.ready[i%len(p.ready)]:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		<-p.credits
		if p.Taken != nil {
			p.Taken(p.bytes(i))
		}
		if err := compute(ctx, p.Set.Workload.Compute); err != nil {
			return fmt.Errorf("batch %d: %w", i, err)
		}
	}
	return nil
}

func (p *playing) bytes(i int) (n int64) {
	for _, number := range p.batch(i) {
		n += p.Set.Sample(int(number), p.Seed).Len
	}
	return n
}

// compute takes as long as an accelerator would.
func compute(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
