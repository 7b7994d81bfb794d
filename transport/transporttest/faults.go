package transporttest

import (
	"errors"
	"testing"
	"time"

	"hbmfs/transport"
)

// stallTimeout is the sessions' whose peer stalls. It only bounds how long the
// test takes.
const stallTimeout = 100 * time.Millisecond

var faults = []struct {
	name  string
	fault Fault
	want  []error
}{
	{"stall", FaultStall, []error{transport.ErrConnLost, transport.ErrStalled}},
	{"stall in payload", FaultStallPayload, []error{transport.ErrConnLost, transport.ErrStalled}},
	{"length", FaultLength, []error{transport.ErrProtocol}},
	{"status", FaultStatus, []error{transport.ErrConnLost, transport.ErrProtocol}},
	{"unknown request", FaultUnknown, []error{transport.ErrConnLost, transport.ErrProtocol}},
	{"checksum", FaultChecksum, []error{transport.ErrChecksum}},
	{"death in payload", FaultDie, []error{transport.ErrConnLost}},
}

func testFaults(t *testing.T, h Harness) {
	if h.Faulty == nil {
		t.Log("no peer that could misbehave")
		return
	}
	for _, c := range faults {
		for _, n := range []int64{4096, extent} {
			t.Run(c.name, func(t *testing.T) { testFault(t, h, c.fault, c.want, n) })
			t.Run("read/"+c.name, func(t *testing.T) { testReadFault(t, h, c.fault, c.want, int(n)) })
		}
	}
}

// testFault has the peer fail one request, into memory that the CPU can touch and
// into memory that it can't. Afterwards nothing may write there, whatever the peer
// still sends, and the link must work again by itself.
func testFault(t *testing.T, h Harness, fault Fault, want []error, n int64) {
	for _, device := range []bool{false, true} {
		f, file, heal := setUpFaulty(t, h, fault, stallTimeout)
		fl := f.host(file, 0, n)
		var dev *FakeDevice
		if device {
			dev = f.attach(n)
			fl = request(file, 0, transport.Span{Mem: dev, Len: n})
		}
		f.failed(f.fetch(fl), want...)
		if !device {
			Scribble(fl.bytes())
		}
		heal()
		f.recovered(file)
		if f.link.Close(); device && !Scribbled(dev.Read(0, n)) || !device && !Scribbled(fl.bytes()) {
			t.Error("the destination was written to after Done")
		}
		f.once(fl)
	}
}

// setUpFaulty is setUp with one connection to a peer that misbehaves. The timeout
// is for the faults that take one.
func setUpFaulty(t *testing.T, h Harness, fault Fault, timeout time.Duration) (f *fixture, file transport.FileRef, heal func()) {
	t.Helper()
	f = &fixture{t: t, source: NewSource()}
	file = f.source.Add(1, extent)
	f.transport, f.session, heal = h.Faulty(t, f.source, fault)
	f.dial(func(s *transport.Session) {
		s.Connections = 1
		if fault == FaultStall || fault == FaultStallPayload {
			s.Timeout = timeout
		}
	})
	return f, file, heal
}

// recovered fails the test unless the link carries requests again, once it has
// reconnected.
func (f *fixture) recovered(file transport.FileRef) {
	f.t.Helper()
	until := time.Now().Add(patience)
	for {
		fl := f.host(file, 0, extent)
		n, err := f.link.Submit([]*transport.Request{&fl.Request})
		switch {
		case n == 1:
			if r := f.wait(fl); !errors.Is(r.Err, transport.ErrConnLost) {
				f.good(fl, r)
				return
			}
		case !errors.Is(err, transport.ErrConnLost):
			f.t.Fatalf("submit while a connection is down: %v", err)
		}
		breathe(f.t, until)
	}
}
