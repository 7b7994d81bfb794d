package cache

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

// fakeNetwork ends transfers on goroutines of its own, out of order, some of them
// badly and some late.
type fakeNetwork struct {
	queue chan transfer
	done  sync.WaitGroup
}

func newFakeNetwork(workers int) *fakeNetwork {
	n := &fakeNetwork{queue: make(chan transfer, 1024)}
	for i := range workers {
		n.done.Add(1)
		go n.work(rand.New(rand.NewPCG(uint64(i), 3)))
	}
	return n
}

func (n *fakeNetwork) work(rnd *rand.Rand) {
	defer n.done.Done()
	var late []transfer
	finish := func(t transfer) { t.src.succeed(t.req) }
	for t := range n.queue {
		switch rnd.IntN(16) {
		case 0:
			transporttest.End(t.req, transport.Result{Err: errBroken})
		case 1: // kept back until others are done
			if late = append(late, t); len(late) == 4 {
				finish(late[0])
				late = late[1:]
			}
		default:
			finish(t)
		}
	}
	for _, t := range late {
		finish(t)
	}
}

func (n *fakeNetwork) close() {
	close(n.queue)
	n.done.Wait()
}

// networkSource is a file behind a fakeNetwork.
type networkSource struct {
	*fakeSource
	net *fakeNetwork
}

func (s networkSource) Submit(reqs []*transport.Request) {
	for _, r := range reqs {
		s.net.queue <- transfer{s.fakeSource, r}
	}
}

// TestStress has many fetchers at once, some of which give up and some wait for room,
// over transfers of which some fail and some are overdue, and checks every word that
// they get.
func TestStress(t *testing.T) {
	g := newRig(t, 12, func(cfg *Config) { cfg.Timeout = 2 * time.Millisecond })
	network := newFakeNetwork(4)
	defer network.close()
	var sources []networkSource
	for i, size := range []int64{5*testExtent + 3000, 9 * testExtent, 100, 4096, 8192, testExtent} {
		src := newSource(uint64(i+1), size)
		src.unsettled = i == 3
		sources = append(sources, networkSource{src, network})
	}
	var fetchers sync.WaitGroup
	for i := range 8 {
		fetchers.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 4))
			for range 400 {
				src := sources[rnd.IntN(len(sources))]
				g.stressOnce(rnd, src)
			}
		})
	}
	fetchers.Wait()
	g.verify()
	if s := g.Stats(); s.Leases != 0 || s.LeasedBytes != 0 || s.Hits == 0 || s.Errors == 0 {
		t.Errorf("%+v", s)
	}
	for _, u := range g.Users() {
		if u.Waiting != 0 || u.Waits == 0 || u.LeasedBytes != 0 {
			t.Errorf("%+v", u)
		}
	}
}

func (g *rig) stressOnce(rnd *rand.Rand, src networkSource) {
	ctx := context.Background()
	if rnd.IntN(4) == 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, time.Duration(rnd.IntN(200))*time.Microsecond)
		defer stop()
	}
	if rnd.IntN(32) == 0 {
		g.Forget(src.key)
	}
	dom := []transport.Domain{alice, bob}[rnd.IntN(2)]
	wait := time.Duration(rnd.IntN(3)) * time.Millisecond
	l, err := g.FetchWithin(ctx, wait, src, dom, rnd.Int64N(src.size), 1+rnd.Int64N(3*testExtent), Access(rnd.IntN(2)), 1+rnd.IntN(3))
	switch {
	case err == nil:
		g.check(l, src.key)
		l.Release()
	case errors.Is(err, errBroken), errors.Is(err, ErrNoSpace), errors.Is(err, ErrOverdue), errors.Is(err, context.DeadlineExceeded):
	default:
		g.t.Error(err)
	}
}
