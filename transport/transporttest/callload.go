package transporttest

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"hbmfs/transport"
)

// testCallsConcurrent has many callers, each with many calls in a Submit, beside
// reads that keep the link busy.
func testCallsConcurrent(t *testing.T, h Harness) {
	f := setUp(t, h)
	const size, length = 8 * extent, 256 << 10
	file := f.source.Add(1, size)
	var callers, readers sync.WaitGroup
	var over atomic.Bool
	for range 4 {
		fl := f.host(file, 0, length)
		readers.Go(func() {
			for off := int64(0); !over.Load(); off = (off + length) % size {
				again := request(file, off, fl.Dst)
				if !f.quietly(again) {
					return
				}
			}
		})
	}
	for caller := range uint64(8) {
		rng := rand.New(rand.NewPCG(2, caller))
		callers.Go(func() {
			for i := range uint64(20) {
				flights := make([]*flight, 1+rng.IntN(40))
				for j := range flights {
					flights[j] = ask(pattern(1+rng.IntN(transport.MaxCall), caller<<32|i<<16|uint64(j)))
				}
				if !f.quietlyAsk(flights) {
					return
				}
			}
		})
	}
	callers.Wait()
	over.Store(true)
	readers.Wait()
}

// quietlyAsk submits calls, for goroutines other than the test's, and reports
// whether each was answered what it asked.
func (f *fixture) quietlyAsk(flights []*flight) bool {
	if err := f.insist(flights); err != nil {
		f.t.Error(err)
		return false
	}
	for _, fl := range flights {
		if err := fl.answered(<-fl.ended, fl.Call.Ask); err != nil {
			f.t.Error(err)
			return false
		}
	}
	return true
}

// testCallCredits submits more calls than any link takes at once.
func testCallCredits(t *testing.T, h Harness) {
	f := setUp(t, h)
	hold := f.source.HoldCalls()
	defer hold.Release()
	const most = 1 << 14
	reqs := make([]*transport.Request, most)
	flights := make([]*flight, most)
	for i := range reqs {
		flights[i] = ask(pattern(1+i%transport.MaxCall, uint64(i)))
		reqs[i] = &flights[i].Request
	}
	n, err := f.link.Submit(reqs)
	if err != nil || n == 0 || n == most {
		t.Fatalf("%d calls: %d taken, %v", most, n, err)
	}
	if s := f.link.Stats(); s.InFlight != int64(n) {
		t.Errorf("%d calls taken, %d under way", n, s.InFlight)
	}
	if again, err := f.link.Submit(reqs[n:]); again != 0 || err != nil {
		t.Fatalf("without a credit: %d taken, %v", again, err)
	}
	hold.Release()
	rest := flights[n:min(2*n+1, most)]
	f.submit(rest...)
	for _, fl := range flights[:n+len(rest)] {
		f.echoed(fl)
	}
	f.once(flights[:n+len(rest)]...)
}

// testMessages counts what carries calls of one Submit.
func testMessages(t *testing.T, h Harness) {
	if h.Counted == nil {
		t.Log("no messages that could be counted")
		return
	}
	f := &fixture{t: t, source: NewSource()}
	var messages func() int
	f.transport, f.session, messages = h.Counted(t, f.source)
	f.dial()
	batch := f.plans[f.mapped].Batch
	for _, n := range []int{1, batch, 40} {
		reqs := make([]*transport.Request, n)
		flights := make([]*flight, n)
		for i := range reqs {
			flights[i] = ask(pattern(100, uint64(i)))
			reqs[i] = &flights[i].Request
		}
		before := messages()
		taken, err := f.link.Submit(reqs)
		if taken == 0 || err != nil {
			t.Fatalf("%d of %d calls taken: %v", taken, n, err)
		}
		for _, fl := range flights[:taken] {
			f.echoed(fl)
		}
		if took, most := messages()-before, (taken+batch-1)/batch; took < 1 || took > most {
			t.Errorf("%d calls took %d messages, for %d each at most", taken, took, batch)
		}
	}
}
