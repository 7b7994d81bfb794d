package rdma

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"

	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
)

// link is the connections to one target.
type link struct {
	session transport.Session
	mems    landing.Set
	device  device
	bounce  *bounce
	lanes   []lane
	ctx     context.Context // ends with the link; what its goroutines wait on
	cancel  context.CancelFunc
	workers sync.WaitGroup // lanes and the watchdog
	ticks   atomic.Uint32  // the watchdog's clock
	counters

	mu  sync.Mutex // guards end
	end error      // why the link is of no more use

	closing sync.Once

	open sync.WaitGroup // requests not done; added to under mu or conn.mu, before the end
}

// counters are what LinkStats is made of.
type counters struct {
	taken, finished, failed, bytes, reconnects atomic.Int64
}

func newLink(s transport.Session) (*link, error) {
	b, err := newBounce(bounceSize)
	if err != nil {
		return nil, fmt.Errorf("rdma %s: %w", s.Addr, err)
	}
	l := &link{session: s, lanes: make([]lane, s.Connections), bounce: b}
	l.device = device{link: l, regions: make(map[transport.Memory]region)}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l, nil
}

func (l *link) start() {
	for i := range l.lanes {
		l.workers.Go(func() { l.lanes[i].run(l) })
	}
	l.workers.Go(l.watch)
}

func (l *link) Attach(_ context.Context, mem transport.Memory) (transport.Attachment, error) {
	if err := l.ended(); err != nil {
		return nil, err
	}
	a, err := l.mems.Attach(mem)
	if _, host := mem.(transport.HostMemory); host || err != nil {
		return a, err
	}
	l.device.attach(mem)
	return attachment{a, l, mem}, nil
}

// attachment is a memory's place in the set, and its registration.
type attachment struct {
	transport.Attachment
	link *link
	mem  transport.Memory
}

// Close gives the place in the set back last: who attaches the memory anew finds
// no registration.
func (a attachment) Close() error {
	return errors.Join(a.link.device.detach(a.mem), a.Attachment.Close())
}

// Submit encodes each request for the connection with the least to do, and then
// posts once per connection.
func (l *link) Submit(reqs []*transport.Request) (accepted int, err error) {
	var touched uint64
	for _, r := range reqs {
		lane, taken, placeErr := l.place(r)
		if !taken {
			err = placeErr
			break
		}
		touched |= lane
		accepted++
	}
	for ; touched != 0; touched &= touched - 1 {
		if c := l.lanes[bits.TrailingZeros64(touched)].conn.Load(); c != nil {
			c.flush()
		}
	}
	return accepted, err
}

// place gives r to a connection and returns the bit of its lane. A request that
// can't be carried at all is taken, by no lane, and fails on its own.
func (l *link) place(r *transport.Request) (lane uint64, taken bool, err error) {
	if bad := l.check(r); bad != nil {
		return 0, l.reject(r, bad), l.ended()
	}
	var tried uint64
	for full := false; ; {
		c, i := l.lightest(tried)
		if c == nil && full {
			return 0, false, nil
		}
		if c == nil {
			return 0, false, l.down()
		}
		switch c.add(r) {
		case added:
			return 1 << i, true, nil
		case noCredit:
			full = true
		}
		tried |= 1 << i
	}
}

// lightest returns the connection with the least to do of those not in tried.
func (l *link) lightest(tried uint64) (best *conn, lane int) {
	least := int64(math.MaxInt64)
	for i := range l.lanes {
		c := l.lanes[i].conn.Load()
		if c == nil || tried&(1<<i) != 0 {
			continue
		}
		if load := c.load.Load(); load < least {
			best, lane, least = c, i, load
		}
	}
	return best, lane
}

func (l *link) check(r *transport.Request) error {
	if err := l.mems.Check(r.Dst); err != nil {
		return l.failure(r, err)
	}
	if r.Dst.Len > MaxLen || r.Off < 0 || r.Off > math.MaxInt64-r.Dst.Len {
		return l.failure(r, transport.ErrRange)
	}
	return nil
}

// failure says what failed, and on what.
func (l *link) failure(r *transport.Request, err error) error {
	return fmt.Errorf("rdma %s: %d bytes at %d of file %d: %w", l.session.Addr, r.Dst.Len, r.Off, r.File.Handle, err)
}

// reject ends r from a goroutine of its own, since the caller of Submit may hold
// what Done takes. It reports false if the link has ended.
func (l *link) reject(r *transport.Request, err error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end != nil {
		return false
	}
	l.open.Add(1)
	l.taken.Add(1)
	go l.done(r, transport.Result{Err: err})
	return true
}

// done ends a request. No lock may be held.
func (l *link) done(r *transport.Request, res transport.Result) {
	if res.Err != nil {
		l.failed.Add(1)
	} else {
		l.bytes.Add(r.Dst.Len)
	}
	l.finished.Add(1)
	r.Done(res)
	l.open.Done()
}

// ended is nil while the link can be used.
func (l *link) ended() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end
}

// down says why no connection is up.
func (l *link) down() error {
	if err := l.ended(); err != nil {
		return err
	}
	return fmt.Errorf("rdma %s: %w: all %d connections are being redialled", l.session.Addr, transport.ErrConnLost, len(l.lanes))
}

func (l *link) Stats() transport.LinkStats {
	finished := l.finished.Load()
	s := transport.LinkStats{
		Reconnects: l.reconnects.Load(),
		Requests:   finished,
		Errors:     l.failed.Load(),
		Bytes:      l.bytes.Load(),
		InFlight:   max(l.taken.Load()-finished, 0),

		Registrations: l.device.stats(),
	}
	for i := range l.lanes {
		if l.lanes[i].conn.Load() != nil {
			s.Connections++
		}
	}
	return s
}

func (l *link) Close() error {
	l.stop(fmt.Errorf("rdma %s: %w", l.session.Addr, transport.ErrClosed))
	l.workers.Wait()
	l.open.Wait()
	var err error
	l.closing.Do(func() { err = l.bounce.close() })
	return err
}

// stop makes err the link's end, unless it has one, and ends its connections.
func (l *link) stop(err error) {
	l.mu.Lock()
	first := l.end == nil
	if first {
		l.end = err
	}
	l.mu.Unlock()
	if !first {
		return
	}
	l.cancel()
	for i := range l.lanes {
		if c := l.lanes[i].conn.Load(); c != nil {
			c.kill(err)
		}
	}
}
