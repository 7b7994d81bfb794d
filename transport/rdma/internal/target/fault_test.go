package target

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/internal/status"
	"hbmfs/transport/rdma/internal/wire"
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

// Start serves source until the test ends.
func Start(t *testing.T, source transport.Source) transport.Session {
	t.Helper()
	s := startServer(t, source).session
	s.Connections, s.Timeout = 2, patience
	return s
}

// StartFaulty serves source with a fault, which heal ends. What is held back is
// sent, late, when it is healed.
func StartFaulty(t *testing.T, source transport.Source, fault transporttest.Fault) (s transport.Session, heal func()) {
	t.Helper()
	f := &faulty{fault: fault, healed: make(chan struct{})}
	g := startServer(t, slow{source}, func(s *Server) { s.alter = f.alter })
	t.Cleanup(f.heal)
	return g.session, f.heal
}

func (f *faulty) heal() { f.once.Do(func() { close(f.healed) }) }

// slow is a source whose every read is a worker's, which may wait.
type slow struct{ transport.Source }

func (slow) TryRead(transport.FileRef, int64, []byte) error { return transport.ErrWouldBlock }

func (f *faulty) alter(c *conn, a *answer) bool {
	if a.last.n == 0 || !f.done.CompareAndSwap(false, true) {
		return true
	}
	switch f.fault {
	case transporttest.FaultStall:
		f.wait(c)
	case transporttest.FaultStallPayload:
		c.out.piece(half(a.last, nil))
		c.out.flush()
		f.wait(c)
	case transporttest.FaultDie:
		c.out.piece(half(a.last, a.last.from))
		c.out.flush()
		c.fail(errFault)
		return false
	case transporttest.FaultLength:
		if a.record.File == (transport.FileRef{}) { // of a call
			a.record.Length = transport.MaxCall + 1
			break
		}
		a.record.Length--
		a.last.n--
	case transporttest.FaultStatus:
		a.record.Status = status.End
	case transporttest.FaultUnknown:
		a.record.Tag = wire.NewTag(a.record.Tag.Slot()+1, uint32(a.record.Tag>>8))
		a.imm = uint32(a.record.Tag)
	case transporttest.FaultChecksum:
		a.last.bytes()[a.last.n/2] ^= 1
	}
	return true
}

// wait keeps a worker until the server is healed, or the connection ends.
func (f *faulty) wait(c *conn) {
	select {
	case <-f.healed:
	case <-c.ctx.Done():
	}
}

// half is the first half of p, whose completion gives from back.
func half(p parcel, from []byte) parcel {
	p.n /= 2
	p.from = from
	return p
}
