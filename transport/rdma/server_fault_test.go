package rdma

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/internal/status"
	"hbmfs/transport/transporttest"
)

var errFault = errors.New("fault: the server dies")

// faulty spoils a server's first answer that carries payload.
type faulty struct {
	fault  transporttest.Fault
	done   atomic.Bool
	healed chan struct{}
	once   sync.Once
}

// startFaulty is [transporttest.Harness.Faulty]. What is held back is sent, late,
// when it is healed.
func startFaulty(t *testing.T, source transport.Source, fault transporttest.Fault) (transport.Transport, transport.Session, func()) {
	t.Helper()
	f := &faulty{fault: fault, healed: make(chan struct{})}
	g := startServer(t, source, func(s *Server) { s.alter = f.alter })
	t.Cleanup(f.heal)
	return New(), g.session, f.heal
}

func (f *faulty) heal() { f.once.Do(func() { close(f.healed) }) }

func (f *faulty) alter(c *serving, a *answer) bool {
	if a.last.n == 0 || !f.done.CompareAndSwap(false, true) {
		return true
	}
	switch f.fault {
	case transporttest.FaultStall:
		f.late(c, *a)
		return false
	case transporttest.FaultStallPayload:
		c.out.piece(half(a.last, nil))
		f.late(c, *a)
		return false
	case transporttest.FaultDie:
		c.out.piece(half(a.last, a.last.from))
		c.out.flush()
		c.fail(errFault)
		return false
	case transporttest.FaultLength:
		a.record.length--
		a.last.n--
	case transporttest.FaultStatus:
		a.record.status = status.End
	case transporttest.FaultUnknown:
		a.record.tag = newTag(a.record.tag.slot()+1, a.record.tag.generation())
		a.imm = uint32(a.record.tag)
	case transporttest.FaultChecksum:
		a.last.bytes()[a.last.n/2] ^= 1
	}
	return true
}

// late answers once the server is healed.
func (f *faulty) late(c *serving, a answer) {
	c.wg.Go(func() {
		<-f.healed
		c.out.reply(a)
		c.out.flush()
	})
}

// half is the first half of p, whose completion gives from back.
func half(p parcel, from *staging) parcel {
	p.n /= 2
	p.from = from
	return p
}
