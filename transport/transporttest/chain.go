package transporttest

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hbmfs/transport"
)

// chain makes the call that adds a file, and reads of it that are chained to that:
// of so many bytes each, one behind the other.
func (f *fixture) chain(handle uint64, size int64, lens ...int64) []*flight {
	what, file := Opens(handle, size)
	flights := []*flight{ask(what)}
	off := int64(0)
	for _, n := range lens {
		fl := f.host(file, off, n)
		fl.Chained = true
		flights = append(flights, fl)
		off += n
	}
	return flights
}

// endedWell returns an error unless all of the chains did.
func endedWell(chains ...[]*flight) error {
	for _, c := range chains {
		if err := c[0].answered(<-c[0].ended, c[0].Call.Ask); err != nil {
			return err
		}
		for _, fl := range c[1:] {
			if r := <-fl.ended; r.Err != nil {
				return r.Err
			}
			if err := Check(fl.bytes(), fl.File, fl.Off); err != nil {
				return err
			}
		}
	}
	return nil
}

// slowOpens is a source that takes a moment for a call, and has each second file
// that one adds not in memory.
type slowOpens struct{ *Source }

func (s slowOpens) Call(ctx context.Context, what, dst []byte) (int, error) {
	time.Sleep(rand.N(300 * time.Microsecond))
	n, err := s.Source.Call(ctx, what, dst)
	if handle, ok := opened(what); ok && handle&1 == 0 {
		s.Chill(handle)
	}
	return n, err
}

// testChains has many who open files and read them in one Submit each: no read is
// begun before its file is open, whatever is taken at a time, and over how many
// connections.
func testChains(t *testing.T, h Harness) {
	for _, connections := range []int{1, 4} {
		f := &fixture{t: t, source: NewSource()}
		f.transport, f.session = h.Start(t, slowOpens{f.source})
		f.dial(func(s *transport.Session) { s.Connections = connections })
		other := f.source.Add(1, extent)
		var last atomic.Uint64
		last.Store(other.Handle)
		var wg sync.WaitGroup
		for submitter := range uint64(12) {
			rng := rand.New(rand.NewPCG(4, submitter))
			wg.Go(func() {
				for range 20 {
					beside := f.host(other, 0, 100)
					if !f.quietlyOpen(rng, &last, beside) {
						return
					}
				}
			})
		}
		wg.Wait()
		if s := f.link.Stats(); s.Errors != 0 || s.InFlight != 0 {
			t.Errorf("%+v", s)
		}
	}
}

// quietlyOpen has some files opened and read in one Submit, with a read beside
// them, and reports whether all of it ended well.
func (f *fixture) quietlyOpen(rng *rand.Rand, last *atomic.Uint64, beside *flight) bool {
	var chains [][]*flight
	all := []*flight{beside}
	for range 1 + rng.IntN(6) {
		c := f.chain(last.Add(1), extent, randoms(rng)...)
		chains, all = append(chains, c), append(all, c...)
	}
	err := f.insist(all)
	if err == nil {
		err = endedWell(chains...)
	}
	if err != nil {
		f.t.Error(err)
		return false
	}
	return (<-beside.ended).Err == nil
}

// randoms is one to three lengths, mostly small.
func randoms(rng *rand.Rand) []int64 {
	lens := make([]int64, 1+rng.IntN(3))
	for i := range lens {
		lens[i] = 1 + rng.Int64N(4096)
		if rng.IntN(20) == 0 {
			lens[i] *= 32
		}
	}
	return lens
}

// testChainLong has more reads chained to a call than a link takes at once, and
// more small requests than share a message.
func testChainLong(t *testing.T, h Harness) {
	f := &fixture{t: t, source: NewSource()}
	f.transport, f.session = h.Start(t, slowOpens{f.source})
	f.dial()
	for handle := range uint64(4) {
		lens := make([]int64, 1<<12>>(2*handle))
		for i := range lens {
			lens[i] = 1 + int64(i)%200
		}
		c := f.chain(2+handle, extent, lens...)
		f.submit(c...)
		if err := endedWell(c); err != nil {
			t.Error(err)
		}
		f.once(c...)
	}
}

// testChainHeld holds calls: what is chained to them waits, whatever connection
// has room, and all else goes on.
func testChainHeld(t *testing.T, h Harness) {
	f := setUp(t, h, func(s *transport.Session) { s.Connections = 4 })
	other := f.source.Add(1, extent)
	dev := f.attach(4096)
	hold := f.source.HoldCalls()
	defer hold.Release()
	var chains [][]*flight
	for handle := range uint64(2) { // few: a transport may have few workers
		c := f.chain(2+handle, extent, 4096, 8)
		f.submit(c...)
		chains = append(chains, c)
	}
	what, file := Opens(9, extent)
	call, read := ask(what), request(file, 0, transport.Span{Mem: dev, Len: 4096})
	read.Chained = true
	f.submit(call, read)
	await(t, hold)
	for range 50 {
		fl := f.host(other, 0, 4096)
		fl.Chained = true // to nothing
		f.good(fl, f.fetch(fl))
	}
	for _, fl := range append(chains[0], chains[1]...) {
		if fl.done.Load() != 0 {
			t.Fatalf("ended while its call is held: %+v", <-fl.ended)
		}
	}
	hold.Release()
	if err := endedWell(chains...); err != nil {
		t.Error(err)
	}
	f.once(slices.Concat(chains...)...)
	f.echoed(call)
	if r := f.wait(read); r.Err != nil {
		t.Error(r.Err)
	} else if err := Check(dev.Read(0, 4096), file, 0); err != nil {
		t.Error(err)
	}
}

// testChainFails has calls that open nothing: each read fails for itself, and the
// link goes on.
func testChainFails(t *testing.T, h Harness) {
	f := setUp(t, h)
	other := f.source.Add(1, extent)
	f.source.FailCalls(transport.ErrSource)
	for handle := range uint64(10) {
		c := f.chain(2+handle, extent, 4096, 64<<10)
		beside := f.host(other, 0, 4096)
		beside.Chained = true
		f.submit(append(c, beside)...)
		f.failed(f.wait(c[0]), transport.ErrSource)
		f.failed(f.wait(c[1]), transport.ErrUnknownFile)
		f.failed(f.wait(c[2]), transport.ErrUnknownFile)
		f.good(beside, f.wait(beside))
	}
}
