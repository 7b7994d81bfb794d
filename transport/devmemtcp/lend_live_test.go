package devmemtcp

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

// TestNICLoanRate reports how fast four borrowers are who give all back at once.
func TestNICLoanRate(t *testing.T) {
	n := needNIC(t)
	c := n.config(t)
	c.LendQueues, c.Reserve = 1, reserveUDMABuf
	b := &bench{t: t, source: transporttest.NewSource()}
	b.file = b.source.Add(1, 16*extent)
	b.start(New(c), n.listen, []func(*transport.Session){func(s *transport.Session) { s.Checksums = false }})
	var bytes atomic.Int64
	began := time.Now()
	var borrowers sync.WaitGroup
	for range 4 {
		borrowers.Go(func() {
			for time.Since(began) < 5*time.Second {
				l, err := b.link.(transport.Lender).Borrow(t.Context(), transport.Domain{}, b.file, 0, 2*extent, 1<<20)
				if err != nil {
					t.Error(err)
					return
				}
				for _, s := range l.Segments() {
					bytes.Add(s.Len)
				}
				l.Return()
			}
		})
	}
	borrowers.Wait()
	mib := float64(bytes.Load()) / extent
	s := b.link.Stats().Devmem
	t.Logf("%.1f MiB/s; for each MiB %.1f recvmsg, %.1f setsockopt, %.0f fragments",
		mib/time.Since(began).Seconds(), float64(s.Recvmsgs)/mib, float64(s.TokenCalls)/mib, float64(s.Fragments)/mib)
}
