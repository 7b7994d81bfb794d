package transporttest

import (
	"sync/atomic"
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/inproc"
)

// lentMemory is memory for loans that knows whether it was given back.
type lentMemory struct {
	Mapped
	dom  transport.Domain
	open *atomic.Int64
}

func (m *lentMemory) Domain() transport.Domain { return m.dom }

func (m *lentMemory) Close() error {
	Scribble(m.Mapped)
	m.open.Add(-1)
	return nil
}

// TestFakeLenderConforms: the fake is as the suite wants a lender, and gives back
// all memory.
func TestFakeLenderConforms(t *testing.T) {
	var open atomic.Int64
	t.Cleanup(func() {
		if n := open.Load(); n != 0 {
			t.Errorf("%d memories were not given back", n)
		}
	})
	runLoans(t, Harness{Lend: func(_ *testing.T, source transport.Source) (transport.Transport, transport.Session) {
		sessions := NewSessions()
		return FakeLender{
			Transport: inproc.New(sessions),
			Reserve: func(dom transport.Domain, size int64) (transport.LoanMemory, error) {
				open.Add(1)
				return &lentMemory{make(Mapped, size), dom, &open}, nil
			},
		}, sessions.Open(source)
	}})
}
