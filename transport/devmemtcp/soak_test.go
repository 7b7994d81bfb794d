package devmemtcp

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

// TestNothingWritesAfterDone fetches at random while pairs are lost. What has
// completed is right, and stays what its owner makes of it.
func TestNothingWritesAfterDone(t *testing.T) {
	b := newBench(t, func(s *transport.Session) { s.Connections = 2 })
	b.soak(time.Second)
}

// soak runs for about that long.
func (b *bench) soak(d time.Duration) {
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	var good, lost atomic.Int64
	for i := range 4 {
		dev := &mapped{Mapped: make(transporttest.Mapped, 2*extent), revoked: make(chan struct{})}
		attach(b.t, b.link, dev)
		rng := rand.New(rand.NewPCG(2, uint64(i)))
		wg.Go(func() {
			for time.Now().Before(end) {
				n := 1 + rng.Int64N(2*extent)
				off := rng.Int64N(16*extent - n)
				transporttest.Scribble(dev.Mapped)
				r := <-submit(b.t, b.link, b.file, off, transport.Span{Mem: dev, Len: n})
				err := r.Err
				if err == nil {
					err = transporttest.Check(dev.Mapped[:n], b.file, off)
					good.Add(1)
				} else if errors.Is(err, transport.ErrConnLost) {
					err = nil
					lost.Add(1)
				}
				if !transporttest.Scribbled(dev.Mapped[n:]) {
					err = errors.New("written outside of the destination")
				}
				transporttest.Scribble(dev.Mapped)
				time.Sleep(time.Duration(rng.Int64N(3e6)))
				if !transporttest.Scribbled(dev.Mapped) {
					err = errors.New("written to after Done")
				}
				if err != nil {
					b.t.Error(err)
					return
				}
			}
		})
	}
	for time.Now().Before(end) {
		time.Sleep(d / 20)
		b.target.drop()
	}
	wg.Wait()
	s := b.link.Stats()
	b.t.Logf("%d right, %d lost, %d pairs replaced, %+v", good.Load(), lost.Load(), s.Reconnects, s.Devmem)
	if good.Load() == 0 || s.Reconnects == 0 {
		b.t.Error("nothing was tested")
	}
}

// mapped is device memory that the CPU can address.
type mapped struct {
	transporttest.Mapped
	revoked chan struct{}
}

func (m *mapped) Revoked() <-chan struct{} { return m.revoked }

func (m *mapped) CopyIn(dst int64, src []byte, done func(error)) { m.Mapped.CopyIn(dst, src, done) }
