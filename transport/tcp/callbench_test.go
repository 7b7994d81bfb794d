package tcp

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

// BenchmarkCall has callers ask by one connection, each its next when it has been
// answered, alone or with a read of 4 KiB that is chained to it.
func BenchmarkCall(b *testing.B) {
	session := startBenchTarget(b)
	for _, callers := range []int{1, 8, 32} {
		for _, chained := range []bool{false, true} {
			b.Run(fmt.Sprintf("callers=%d/chained=%t", callers, chained), func(b *testing.B) {
				s := session
				s.Connections, s.Checksums, s.Timeout = 1, true, 10*time.Second
				benchCall(b, s, callers, chained)
			})
		}
	}
}

func benchCall(b *testing.B, s transport.Session, callers int, chained bool) {
	link, err := New(false).Dial(b.Context(), s)
	if err != nil {
		b.Fatal(err)
	}
	defer link.Close()
	mem := mapping(b, 1<<20)
	attach(b, link, mem)
	var left atomic.Int64
	left.Store(int64(b.N))
	ended := make(chan struct{}, callers)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range callers {
		go func() {
			for left.Add(-1) >= 0 {
				benchOne(link, transport.Span{Mem: mem, Off: int64(i) * 4096, Len: 4096}, chained)
			}
			ended <- struct{}{}
		}()
	}
	for range callers {
		<-ended
	}
}

// benchOne calls, until the credits are there for it.
func benchOne(link transport.Link, dst transport.Span, chained bool) {
	ended := make(chan error, 2)
	to := transporttest.Done(func(res transport.Result) { ended <- res.Err })
	reqs := []*transport.Request{
		{To: to, Call: &transport.Call{Ask: make([]byte, 100), Answer: make([]byte, 0, transport.MaxCall)}},
		{To: to, Dst: dst, Chained: true},
	}
	if !chained {
		reqs = reqs[:1]
	}
	for len(reqs) > 0 {
		n, err := link.Submit(reqs)
		if err != nil {
			panic(err)
		}
		for range n {
			if err := <-ended; err != nil {
				panic(err)
			}
		}
		if reqs = reqs[n:]; n == 0 {
			time.Sleep(20 * time.Microsecond)
		}
	}
}
