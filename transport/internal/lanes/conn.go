package lanes

import (
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

	"hbmfs/transport"
)

// overhead is what a request weighs beside its bytes when connections are
// compared.
const overhead = 16 << 10

// Carrier is what a transport does on one of its connections.
type Carrier interface {
	// Add takes r if it can, by [Conn.Next] and [Conn.Issue], and encodes it.
	Add(r *transport.Request) Addition
	// Flush sends what was added, unless someone is at it already. It must not
	// wait for the peer.
	Flush()
	// Receive takes what the peer sends until the connection ends, and returns
	// why it did. The error wraps [transport.ErrConnLost]. It is called once,
	// on the lane's goroutine.
	Receive() error
	// Kill ends the connection because of err, from any goroutine: Receive then
	// returns.
	Kill(err error)
	// Retire ends all requests that wait for the peer, and closes what the
	// connection has. It is called once, after Receive or in its place. err is
	// why, unless the connection was killed before.
	Retire(err error)
}

// Addition is what became of a request that a connection was to take.
type Addition int

const (
	Added Addition = iota
	NoCredit
	Refused // the connection is ending
)

// Conn is what all transports' connections have: credits, and the account of
// what is under way. A transport's connection embeds it. Each request takes a
// slot, from [Conn.Issue] to [Conn.Finish]; what a slot holds is the transport's.
type Conn struct {
	link     *Link
	carrier  Carrier
	load     atomic.Int64  // bytes asked for, with overhead
	progress atomic.Uint64 // bytes that came
	stall    stall         // the watchdog's own

	Mu      sync.Mutex // guards what follows, and what the transport puts under it
	free    []uint16   // slots
	marks   []mark     // of slots
	answers uint64     // that came whole
	broken  error      // why nothing more is taken
}

// mark is when a slot's request was issued, by three clocks of its connection.
type mark struct {
	waiting  bool // for the peer
	tick     uint32
	progress uint64
	answers  uint64
	weight   int64
}

// Init readies the connection for depth requests at a time.
func (c *Conn) Init(l *Link, carrier Carrier, depth int) {
	c.link, c.carrier = l, carrier
	c.free, c.marks = make([]uint16, depth), make([]mark, depth)
	for i := range c.free {
		c.free[i] = uint16(depth - 1 - i)
	}
}

// Next returns the slot that Issue will give, or why there is none. Mu is held.
func (c *Conn) Next() (slot int, a Addition) {
	switch n := len(c.free); {
	case c.broken != nil:
		return 0, Refused
	case n == 0:
		return 0, NoCredit
	default:
		return int(c.free[n-1]), Added
	}
}

// Issue gives r the slot that Next returned. Mu was held since.
func (c *Conn) Issue(r *transport.Request) {
	last := len(c.free) - 1
	m := &c.marks[c.free[last]]
	c.free = c.free[:last]
	*m = mark{true, c.link.ticks.Load(), c.progress.Load(), c.answers, r.Dst.Len + overhead}
	c.load.Add(m.weight)
	c.link.inFlight.Add(1)
	c.link.taken.Add(1)
}

// Waiting reports whether the peer owes the slot's answer. Mu is held.
func (c *Conn) Waiting(slot int) bool { return c.marks[slot].waiting }

// Progressed counts n bytes that came.
func (c *Conn) Progressed(n int) { c.progress.Add(uint64(n)) }

// Answered ends the slot's wait for the peer, whose answer is here whole, or
// won't come. The slot stays taken.
func (c *Conn) Answered(slot int) {
	c.Mu.Lock()
	defer c.Mu.Unlock()
	m := &c.marks[slot]
	m.waiting = false
	c.answers++
	c.load.Add(-m.weight)
}

// Finish gives the slot's credit back and ends its request. It must be Answered.
// No lock may be held.
func (c *Conn) Finish(slot int, r *transport.Request, res transport.Result) {
	c.Mu.Lock()
	c.free = append(c.free, uint16(slot))
	c.Mu.Unlock()
	c.link.done(r, res)
}

// Break has nothing more be taken, because of err, and reports whether this is
// the first reason. Mu is held.
func (c *Conn) Break(err error) bool {
	if c.broken != nil {
		return false
	}
	c.broken = err
	return true
}

// Broken is why nothing more is taken, nil while it is. Mu is held.
func (c *Conn) Broken() error { return c.broken }

// Unanswered yields the slots that wait for the peer, for Retire: each must be
// Answered and finished.
func (c *Conn) Unanswered() iter.Seq[int] {
	return func(yield func(int) bool) {
		for slot := range c.marks {
			c.Mu.Lock()
			waiting := c.Waiting(slot)
			c.Mu.Unlock()
			if waiting && !yield(slot) {
				return
			}
		}
	}
}

// Lost says that err was the end of a connection.
func Lost(err error) error {
	if errors.Is(err, transport.ErrConnLost) {
		return err
	}
	return fmt.Errorf("%w: %w", transport.ErrConnLost, err)
}
