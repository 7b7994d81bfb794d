package lanes

import (
	"fmt"
	"math"
	"math/bits"

	"hbmfs/transport"
)

// Submit implements [transport.Link]: it gives each request to the connection
// with the least to do, and then flushes each connection once.
func (l *Link) Submit(reqs []*transport.Request) (accepted int, err error) {
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
			c.carrier.Flush()
		}
	}
	return accepted, err
}

// place gives r to a connection and returns the bit of its lane. A request that
// can't be carried at all is taken, by no lane, and fails on its own.
func (l *Link) place(r *transport.Request) (lane uint64, taken bool, err error) {
	if bad := l.check(r); bad != nil {
		return 0, l.reject(r, bad), l.ended()
	}
	var tried uint64
	for full := false; ; {
		c, i := l.lightest(tried)
		if c == nil && full {
			l.waits.Add(1)
			return 0, false, nil
		}
		if c == nil {
			return 0, false, l.down()
		}
		switch c.carrier.Add(r) {
		case Added:
			return 1 << i, true, nil
		case NoCredit:
			full = true
		}
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

func (l *Link) check(r *transport.Request) error {
	if err := l.mems.Check(r.Dst); err != nil {
		return l.Failure(r, err)
	}
	if r.Dst.Len > l.cfg.MaxLen || r.Off < 0 || r.Off > math.MaxInt64-r.Dst.Len {
		return l.Failure(r, transport.ErrRange)
	}
	return nil
}

// reject ends r from a goroutine of its own, since the caller of Submit may hold
// what Done takes. It reports false if the link has ended.
func (l *Link) reject(r *transport.Request, err error) bool {
	if !l.Begin() {
		return false
	}
	go l.done(r, transport.Result{Err: err})
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
