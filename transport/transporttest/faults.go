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
		}
	}
}

// testFault has the peer fail one request, into host memory and into memory that
// the CPU can't touch. Afterwards nothing may write there, whatever the peer
// still sends, and the link must work again by itself.
func testFault(t *testing.T, h Harness, fault Fault, want []error, n int64) {
	for _, device := range []bool{false, true} {
		f := &fixture{t: t, source: NewSource()}
		file := f.source.Add(1, extent)
		var heal func()
		f.transport, f.session, heal = h.Faulty(t, f.source, fault)
		f.dial(func(s *transport.Session) {
			s.Connections = 1
			if fault == FaultStall || fault == FaultStallPayload {
				s.Timeout = stallTimeout
			}
		})
		fl := host(file, 0, n)
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

// recovered fails the test unless the link carries requests again, once it has
// reconnected.
func (f *fixture) recovered(file transport.FileRef) {
	f.t.Helper()
	until := time.Now().Add(patience)
	for {
		fl := host(file, 0, extent)
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
