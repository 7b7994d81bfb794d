package lanes

import (
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
)

const (
	// overhead is what a request weighs beside its bytes when connections are
	// compared.
	overhead = 16 << 10
	// kept is the part of a connection's credits that each kind of request finds,
	// however many of the others wait.
	kept = 1. / 8
)

// Kinds of requests: reads into memory are neither of these.
const (
	plain = 1 + iota
	call
	kinds
)

func kindOf(r landing.Request) int {
	switch {
	case r.Plain():
		return plain
	case r.Call != nil:
		return call
	}
	return 0
}

// Conn is what all transports' connections have: credits, and the account of
// what is under way. A transport's connection embeds it. Each request takes a
// slot, from [Carrier.Place] to [Conn.Finish]; what a slot holds is the
// transport's. Until the peer has answered, that is the lane's goroutine's.
type Conn struct {
	link     *Link
	carrier  Carrier
	load     atomic.Int64  // bytes asked for, with overhead
	progress atomic.Uint64 // bytes that came
	stall    stall         // the watchdog's own
	shut     sync.Once     // down
	held     atomic.Bool   // completions are told of together, when the lane's goroutine is to wait
	kept     int           // credits for requests of each kind

	mu      sync.Mutex // guards what follows
	free    []uint16   // slots
	taken   [kinds]int // how many slots each kind of request has
	marks   []mark     // of slots
	answers uint64     // that came whole
	broken  error      // why nothing more is taken
	half    int        // that requests are placed in
	placed  bool       // some are there
	sending bool       // someone sends, and will send what is placed
	quiet   *sync.Cond // no one sends any more
	ended   completions
}

// mark is when a slot's request was issued, by three clocks of its connection.
type mark struct {
	waiting  bool // for the peer
	tick     uint32
	progress uint64
	answers  uint64
	weight   int64
	kind     int
}

// Init readies the connection for depth requests at a time.
func (c *Conn) Init(l *Link, carrier Carrier, depth int) {
	c.link, c.carrier = l, carrier
	c.quiet = sync.NewCond(&c.mu)
	c.free, c.marks = make([]uint16, depth), make([]mark, depth)
	c.kept = int(kept * float64(depth))
	for i := range c.free {
		c.free[i] = uint16(depth - 1 - i)
	}
}

// room is how many more requests of a kind there are credits for. mu is held.
func (c *Conn) room(kind int) int {
	n := len(c.free)
	for k, taken := range c.taken {
		if k != kind {
			n -= max(c.kept-taken, 0)
		}
	}
	return n
}

// issue marks a slot's request, whose weight is bytes with overhead. mu is held.
func (c *Conn) issue(slot uint16, weight int64, kind int) {
	c.marks[slot] = mark{true, c.link.ticks.Load(), c.progress.Load(), c.answers, weight, kind}
	c.taken[kind]++
	c.load.Add(weight)
	c.link.inFlight.Add(1)
	c.link.taken.Add(1)
}

// Waiting reports whether the peer owes the slot's answer. To the lane's
// goroutine, which ends that, the slot's content is safe then.
func (c *Conn) Waiting(slot int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.marks[slot].waiting
}

// Progressed counts n bytes that came.
func (c *Conn) Progressed(n int) { c.progress.Add(uint64(n)) }

// Answered ends the slot's wait for the peer, whose answer is here whole, or
// won't come. The slot stays taken.
func (c *Conn) Answered(slot int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := &c.marks[slot]
	m.waiting = false
	c.answers++
	c.load.Add(-m.weight)
}

// Finish gives the slot's credit back and ends its request. It must be Answered.
// No lock may be held.
func (c *Conn) Finish(slot int, r *transport.Request, res transport.Result) {
	c.mu.Lock()
	c.free = append(c.free, uint16(slot))
	c.taken[c.marks[slot].kind]--
	c.ended.add(r, res)
	c.mu.Unlock()
	c.link.freed()
	if !c.held.Load() {
		c.deliver()
	}
}

// Hold has completions wait for Deliver. The lane's goroutine calls it when it has
// received something.
func (c *Conn) Hold() { c.held.Store(true) }

// Deliver tells of the requests that ended since Hold. The lane's goroutine calls
// it before it waits for the peer.
func (c *Conn) Deliver() {
	if c.held.Swap(false) {
		c.deliver()
	}
}

// deliver tells of all requests that ended, unless someone is at it already: then
// that one does.
func (c *Conn) deliver() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.ended.delivering && len(c.ended.new) > 0 {
		batch := c.ended.begin()
		c.mu.Unlock()
		c.link.complete(batch)
		c.mu.Lock()
		c.ended.end(batch)
	}
}

// completions are what is to be told of, in two halves: while one is, the other
// grows.
type completions struct {
	new, spare []transport.Completion
	delivering bool
}

func (e *completions) add(r *transport.Request, res transport.Result) {
	e.new = append(e.new, transport.Completion{Request: r, Result: res})
}

func (e *completions) begin() []transport.Completion {
	batch := e.new
	e.new, e.delivering = e.spare, true
	return batch
}

func (e *completions) end(batch []transport.Completion) {
	clear(batch)
	e.spare, e.delivering = batch[:0], false
}

// Unanswered yields the slots that wait for the peer, for Retire: each must be
// Answered and finished.
func (c *Conn) Unanswered() iter.Seq[int] {
	return func(yield func(int) bool) {
		for slot := range c.marks {
			if c.Waiting(slot) && !yield(slot) {
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
