package transporttest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"hbmfs/transport"
)

func runCalls(t *testing.T, h Harness) {
	if !t.Run("Echo", func(t *testing.T) { testEcho(t, h) }) {
		t.Fatal("the transport carries no call as it should: the rest can only fail")
	}
	for _, c := range []struct {
		name string
		run  func(*testing.T, Harness)
	}{
		{"Errors", testCallErrors},
		{"Concurrent", testCallsConcurrent},
		{"Credits", testCallCredits},
		{"Messages", testMessages},
		{"Held", testCallsHeld},
		{"Closed", testCallsClosed},
		{"Chains", testChains},
		{"ChainLong", testChainLong},
		{"ChainHeld", testChainHeld},
		{"ChainFails", testChainFails},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, h) })
	}
	if h.Faulty == nil {
		return
	}
	for _, c := range faults {
		t.Run("fault/"+c.name, func(t *testing.T) { testCallFault(t, h, c.fault, c.want) })
	}
}

// callMargin is how much longer than an answer the memory for it is.
const callMargin = 64

// ask makes a call that was not submitted yet.
func ask(what []byte) *flight {
	fl := request(transport.FileRef{}, 0, transport.Span{})
	room := make([]byte, transport.MaxCall+callMargin)
	Scribble(room)
	fl.Call = &transport.Call{Ask: what, Answer: room[:0]}
	return fl
}

// room is the memory for fl's answer and the margin.
func (fl *flight) room() []byte { return fl.Call.Answer[:transport.MaxCall+callMargin] }

// answered returns an error unless fl has its answer: want, and nothing behind it.
func (fl *flight) answered(r transport.Result, want []byte) error {
	switch got := fl.Call.Answer; {
	case r.Err != nil:
		return fmt.Errorf("a call of %d bytes: %w", len(fl.Call.Ask), r.Err)
	case !bytes.Equal(got, want):
		return fmt.Errorf("a call of %d bytes: answered %x, not %x", len(fl.Call.Ask), got, want)
	case !Scribbled(fl.room()[transport.MaxCall:]):
		return fmt.Errorf("a call of %d bytes: written behind its answer", len(fl.Call.Ask))
	}
	return nil
}

// echoed fails the test unless fl was answered what it asked.
func (f *fixture) echoed(fl *flight) {
	f.t.Helper()
	if err := fl.answered(f.wait(fl), fl.Call.Ask); err != nil {
		f.t.Fatal(err)
	}
}

// pattern is n bytes that tell who asked.
func pattern(n int, who uint64) []byte {
	b := binary.LittleEndian.AppendUint64(nil, who)
	return bytes.Repeat(b, n/8+1)[:n]
}

// answers is a source that answers as many bytes as the first two of an ask say.
type answers struct{ *Source }

func (answers) Call(_ context.Context, ask, dst []byte) (int, error) {
	n := int(binary.LittleEndian.Uint16(ask))
	return copy(dst, pattern(n, uint64(n))), nil
}

// testEcho asks, and is answered, around every size that a transport may mind.
func testEcho(t *testing.T, h Harness) {
	sizes := []int{1, 2, 7, 8, 23, 24, 47, 48, 55, 56, 100, 511, 512, 513, 976, 1000, transport.MaxCall - 1, transport.MaxCall}
	for _, sums := range []bool{true, false} {
		f := setUp(t, h, func(s *transport.Session) { s.Checksums = sums })
		file := f.source.Add(1, extent)
		var flights []*flight
		for i, n := range sizes {
			one := ask(pattern(n, uint64(i)))
			f.submit(one)
			f.echoed(one)
			flights = append(flights, ask(pattern(n, ^uint64(i))), ask(pattern(n, uint64(i))), f.host(file, int64(i), int64(4*n)))
		}
		f.submit(flights...)
		for _, fl := range flights {
			if fl.Call == nil {
				f.good(fl, f.wait(fl))
				continue
			}
			f.echoed(fl)
		}
		f.once(flights...)
	}
	f := &fixture{t: t, source: NewSource()}
	f.transport, f.session = h.Start(t, answers{f.source})
	f.dial()
	for _, n := range append(sizes, 0) {
		fl := ask(binary.LittleEndian.AppendUint16(nil, uint16(n)))
		if err := fl.answered(f.fetch(fl), pattern(n, uint64(n))); err != nil {
			t.Error(err)
		}
	}
}

// testCallErrors has calls that can't be carried, and ones that the source fails.
func testCallErrors(t *testing.T, h Harness) {
	f := setUp(t, h)
	short := ask([]byte{1})
	short.Call.Answer = make([]byte, 0, transport.MaxCall-1)
	for _, fl := range []*flight{ask(nil), ask(make([]byte, transport.MaxCall+1)), short} {
		fine := ask([]byte("fine"))
		f.submit(fl, fine)
		f.failed(f.wait(fl), transport.ErrRange)
		f.echoed(fine)
	}
	for _, err := range []error{
		fmt.Errorf("fake target: %w", transport.ErrSource), errors.New("fake target: an error of no promised kind"),
	} {
		f.source.FailCalls(err)
		f.failed(f.fetch(ask([]byte("this"))), transport.ErrSource)
	}
	f.source.FailCalls(nil)
	fine := ask([]byte("fine"))
	f.submit(fine)
	f.echoed(fine)
	if s := f.link.Stats(); s.Requests != 9 || s.Errors != 5 || s.Bytes != 4*4 || s.InFlight != 0 {
		t.Errorf("%+v", s)
	}
}
