package transporttest

import (
	"errors"
	"slices"
	"testing"

	"hbmfs/transport"
)

// testCallsHeld has a target that takes its time to answer: all else on the one
// connection goes on, and nothing is written once a call has ended.
func testCallsHeld(t *testing.T, h Harness) {
	f := setUp(t, h, func(s *transport.Session) { s.Connections = 1 })
	file := f.source.Add(1, extent)
	hold := f.source.HoldCalls()
	defer hold.Release()
	held := []*flight{ask(pattern(1000, 1)), ask(pattern(1000, 2)), ask(pattern(10, 3))}
	f.submit(held...)
	await(t, hold)
	for range 50 {
		fl := f.host(file, 0, 64<<10)
		f.good(fl, f.fetch(fl))
		f.readWell(file, 1, 4096)
	}
	for _, fl := range held {
		if fl.done.Load() != 0 { // the answer is the link's until then
			t.Fatal("a call that the target holds has ended")
		}
	}
	hold.Release()
	for _, fl := range held {
		f.echoed(fl)
		Scribble(fl.room())
	}
	for range 50 {
		fl := ask(pattern(1000, 4))
		f.submit(fl)
		f.echoed(fl)
	}
	f.link.Close()
	f.unwritten(held)
	f.once(held...)
}

// unwritten fails the test if anything was written to memory for answers that was
// scribbled on when its call had ended.
func (f *fixture) unwritten(calls []*flight) {
	f.t.Helper()
	for _, fl := range calls {
		if !Scribbled(fl.room()) {
			f.t.Error("an answer was written to after its call had ended")
		}
	}
}

// testCallsClosed closes a link whose calls the target holds, and the reads that
// are chained to them.
func testCallsClosed(t *testing.T, h Harness) {
	f := setUp(t, h)
	hold := f.source.HoldCalls()
	defer hold.Release()
	var flights, calls []*flight
	for handle := range uint64(8) {
		chain := f.chain(1+handle, extent, 4096, 64<<10)
		calls = append(calls, chain[0])
		flights = append(flights, chain...)
	}
	f.submit(flights...)
	await(t, hold)
	if err := f.link.Close(); err != nil {
		t.Error(err)
	}
	f.once(flights...)
	for _, fl := range flights {
		f.failed(<-fl.ended, transport.ErrClosed)
	}
	for _, fl := range calls {
		Scribble(fl.room())
	}
	hold.Release()
	f.unwritten(calls)
	if s := f.link.Stats(); s.InFlight != 0 || s.Requests != int64(len(flights)) {
		t.Errorf("%+v", s)
	}
}

// testCallFault has the peer spoil an answer. Afterwards nothing may write where
// it was to go, whatever the peer still sends, and the link must work again by
// itself.
func testCallFault(t *testing.T, h Harness, fault Fault, want []error) {
	f, file, heal := setUpFaulty(t, h, fault, stallTimeout)
	chain := f.chain(2, extent, 4096)
	call, read := chain[0], chain[1]
	f.submit(chain...)
	r := f.wait(call)
	if fault == FaultLength && errors.Is(r.Err, transport.ErrConnLost) {
		want = append(slices.Clone(want), transport.ErrConnLost) // what follows can't be made out
	}
	f.failed(r, want...)
	Scribble(call.room())
	if r := f.wait(read); r.Err == nil {
		f.good(read, r)
	} else if fault == FaultChecksum || !errors.Is(r.Err, transport.ErrConnLost) {
		t.Errorf("the read that is chained to it: %v", r.Err)
	}
	heal()
	f.recovered(file)
	again := ask(pattern(1000, 1))
	f.submit(again)
	f.echoed(again)
	f.link.Close()
	f.unwritten(chain[:1])
	f.once(chain...)
}
