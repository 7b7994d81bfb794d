package lanes

import (
	"fmt"
	"math"
	"math/bits"

	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
)

// Batch is [transport.Plan.Batch] of transports over byte streams: a target has as
// many workers for a connection, and what does not fit one packet costs little.
const Batch = 16

// Submit implements [transport.Link]: it gives each request to the connection
// with the least to do, and then flushes each connection once. Calls that follow
// one another, and what is chained to them, go to one connection.
func (l *Link) Submit(reqs []*transport.Request) (accepted int, err error) {
	var touched uint64
	called := false
	for accepted < len(reqs) {
		first := reqs[accepted]
		if called && chained(first) {
			break // its call is sent already, or has failed: it is to be waited for
		}
		called = called || first.Call != nil // first is its completer's once it is placed
		lane, n, placeErr := l.place(landing.Request{Request: first}, l.behind(reqs[accepted:])...)
		if n == 0 {
			err = placeErr
			break
		}
		touched |= lane
		accepted += n
	}
	l.flush(touched)
	return accepted, err
}

// chained reports whether r is to wait for a call.
func chained(r *transport.Request) bool { return r.Chained && r.Call == nil }

// behind is the requests after the first that go along with it, if that is a call:
// as many calls as share a message, with the reads that are chained to them.
func (l *Link) behind(reqs []*transport.Request) []*transport.Request {
	n := 1
	for reqs[0].Call != nil && n < len(reqs) {
		r := reqs[n]
		along := chained(r) || r.Call != nil && n < l.cfg.Plan.Batch
		if !along || l.check(landing.Request{Request: r}) != nil {
			break
		}
		n++
	}
	return reqs[1:n]
}

func (l *Link) flush(touched uint64) {
	for ; touched != 0; touched &= touched - 1 {
		if c := l.lanes[bits.TrailingZeros64(touched)].conn.Load(); c != nil {
			c.flush()
		}
	}
}

// place gives r, and as many as it can of those behind it, to a connection, and
// returns the bit of its lane and how many it took. If r can't be carried at all it
// is taken, by no lane, and fails on its own.
func (l *Link) place(r landing.Request, behind ...*transport.Request) (lane uint64, taken int, err error) {
	if bad := l.check(r); bad != nil {
		if !l.reject(r.Request, bad) {
			return 0, 0, l.ended()
		}
		return 0, 1, nil // also if the link has ended since
	}
	var tried uint64
	for full := false; ; {
		c, i := l.lightest(tried)
		if c == nil && full {
			l.waits.Add(1)
			return 0, 0, nil
		}
		if c == nil {
			return 0, 0, l.down()
		}
		n := c.Add(r, behind...)
		if n >= Added {
			return 1 << i, int(n), nil
		}
		full = full || n == NoCredit
		tried |= 1 << i
	}
}

// lightest returns the connection with the least to do of those not in tried.
func (l *Link) lightest(tried uint64) (best *Conn, lane int) {
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

func (l *Link) check(r landing.Request) error {
	if err := l.mems.Check(r); err != nil {
		return l.Failure(r.Request, err)
	}
	if r.Call == nil && (r.Dst.Len > l.cfg.Plan.MaxLen || r.Off < 0 || r.Off > math.MaxInt64-r.Dst.Len) {
		return l.Failure(r.Request, transport.ErrRange)
	}
	return nil
}

// reject ends r from a goroutine of its own, since the caller of Submit may hold
// what its completer takes. It reports false if the link has ended.
func (l *Link) reject(r *transport.Request, err error) bool {
	if !l.Begin() {
		return false
	}
	go l.complete([]transport.Completion{{Request: r, Result: transport.Result{Err: err}}})
	return true
}

// down says why no connection is up.
func (l *Link) down() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end != nil {
		return l.end
	}
	err := fmt.Errorf("%s %s: %w: all %d connections are being redialled", l.cfg.Name, l.Session.Addr, transport.ErrConnLost, len(l.lanes))
	if l.refused != nil {
		err = fmt.Errorf("%w; the latest attempt: %v", err, l.refused)
	}
	return err
}
