package devmemtcp

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/devmemtcp/internal/nic"
	"hbmfs/transport/devmemtcp/internal/receive"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/internal/lanes"
)

// Name is what --transport calls this transport.
const Name = "devmem-tcp"

// MaxLen is the largest payload of one request, in bytes.
const MaxLen = frame.MaxLen

// MaxConnections is the most that a session may ask for.
const MaxConnections = lanes.MaxConnections

// Config says what a transport may use of this host.
type Config struct {
	// NIC is the interface by which targets are reached.
	NIC string
	// Queues is how many of its receive queues to take, the last ones; 1 if it
	// is 0. At least one is left to everyone else.
	Queues int
	// Pairs is for how many pairs of connections the receive pool is made, of
	// all links; 4 if it is 0. More share it.
	Pairs int
	// LendQueues is how many more of its queues to take for loans, each for one
	// user at a time. With none, or without Reserve, nothing is lent.
	LendQueues int
	// Reserve gives the memory that is lent: of [PoolSize.Total] of
	// [NewLoanSize] for each user.
	Reserve transport.ReserveFunc
	// StateDir is where is recorded what is changed on the NIC; "" for the
	// default.
	StateDir string
	// Pool allocates the receive pool.
	Pool func(bytes int64) (PoolMemory, error)

	// What tests replace:
	openNIC   func(Config) (nicPort, error)
	newSocket func(dialled) (receive.Socket, error)
}

const defaultPairs = 4

// devmem is the transport. It has the NIC's queues from the first pair on, until
// Close.
type devmem struct {
	cfg  Config
	lent atomic.Int64 // fragments of loans, which outlive links

	mu     sync.Mutex // guards all below; held while the NIC is set up or checked
	rx     *receiver  // nil before, or after the NIC could not be set up again
	closed bool
}

// New returns the transport, an [io.Closer] that must be closed after its links.
// Nothing is changed on the NIC before Plan, which changes it back, or the first
// Dial that reaches its target. From then on the NIC is kept until Close: that
// links come and go does not disturb its other users.
func New(cfg Config) transport.Transport {
	cfg.Queues = max(cfg.Queues, 1)
	if cfg.Reserve == nil {
		cfg.LendQueues = 0
	}
	if cfg.Pairs <= 0 {
		cfg.Pairs = defaultPairs
	}
	if cfg.openNIC == nil {
		cfg.openNIC = openNIC
	}
	if cfg.newSocket == nil {
		cfg.newSocket = steeredSocket
	}
	return &devmem{cfg: cfg}
}

func (*devmem) Name() string { return Name }

// Close implements [io.Closer]: it gives the NIC back.
func (t *devmem) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rx != nil && t.rx.pairs > 0 {
		return fmt.Errorf("devmem-tcp: NIC %q is kept: %d pairs use it", t.cfg.NIC, t.rx.pairs)
	}
	t.closed = true
	return t.drop()
}

// drop closes the receiver, if there is one. t.mu is held.
func (t *devmem) drop() error {
	rx := t.rx
	t.rx = nil
	if rx == nil {
		return nil
	}
	return rx.close()
}

// setUp makes a receiver, if there is none. t.mu is held.
func (t *devmem) setUp() error {
	if t.closed {
		return fmt.Errorf("devmem-tcp: %w", transport.ErrClosed)
	}
	if t.rx != nil {
		return nil
	}
	rx, err := newReceiver(t.cfg)
	if err != nil {
		return fmt.Errorf("devmem-tcp: %w: NIC %q: %w", transport.ErrUnavailable, t.cfg.NIC, err)
	}
	t.rx = rx
	return nil
}

// join returns the receiver for a new pair, after a look at the NIC.
func (t *devmem) join() (*receiver, error) {
	t.mu.Lock()
	rx, ending, err := t.look()
	if err == nil {
		rx, err = t.use()
	}
	t.mu.Unlock()
	ending.kill()
	return rx, err
}

// hold returns the receiver to who borrows. Until it leaves, the NIC is not set
// up anew.
func (t *devmem) hold() (*receiver, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.use()
}

// use counts one user more of the receiver. A stale one is replaced as soon as
// nobody uses it; until then it is refused. t.mu is held.
func (t *devmem) use() (*receiver, error) {
	if t.rx != nil && t.rx.stale != nil {
		if t.rx.pairs > 0 {
			return nil, fmt.Errorf("devmem-tcp: waiting to set the NIC up anew: %w", t.rx.stale)
		}
		_ = t.drop() // what can't be put back was changed, or is gone
	}
	if err := t.setUp(); err != nil {
		return nil, err
	}
	t.rx.pairs++
	return t.rx, nil
}

// look checks the NIC. Where somebody has changed it underneath, the receiver is
// stale, and its pairs are returned, for whoever lets go of t.mu to end. The error
// is what only time can heal.
func (t *devmem) look() (*receiver, stalePairs, error) {
	rx := t.rx
	if rx == nil {
		return nil, stalePairs{}, nil
	}
	err := rx.nic.Check()
	switch {
	case err == nil:
	case errors.Is(err, nic.ErrChanged) || rx.pairs == 0:
		rx.stale = err
	case rx.stale == nil:
		return rx, stalePairs{}, err
	}
	return rx, rx.ending(), nil
}

// leave undoes a join, of which the sockets are closed, or a hold.
func (t *devmem) leave(rx *receiver) {
	t.mu.Lock()
	defer t.mu.Unlock()
	rx.pairs--
}

// enlist has c be ended when its receiver is stale, which it may be by now.
func (t *devmem) enlist(c *conn) {
	t.mu.Lock()
	c.rx.conns[c] = struct{}{}
	ending := c.rx.ending()
	t.mu.Unlock()
	ending.kill()
}

// quit is leave for a pair that was enlisted.
func (t *devmem) quit(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(c.rx.conns, c)
	c.rx.pairs--
}

// suspect has the NIC be looked at, because payload came to host memory.
func (l *link) suspect(rx *receiver) {
	if rx.mayLook() {
		l.Go(func() { l.owner.examine(rx) })
	}
}

// examine looks at rx's NIC, if it is not replaced already.
func (t *devmem) examine(rx *receiver) {
	t.mu.Lock()
	var ending stalePairs
	if t.rx == rx {
		_, ending, _ = t.look() // what only time can heal, those notice who wait
	}
	t.mu.Unlock()
	ending.kill()
}

// Plan does what Dial needs of the NIC: it takes the queues, has their payload
// land in a pool, and gives all back, unless it has them already.
func (t *devmem) Plan(mem transport.Memory) (transport.Plan, error) {
	if landing.Revoked(mem) {
		return transport.Plan{}, fmt.Errorf("%w: %w", transport.ErrUnavailable, transport.ErrRevoked)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	held := t.rx != nil
	if err := t.setUp(); err != nil {
		return transport.Plan{}, err
	}
	if !held {
		if err := t.drop(); err != nil {
			return transport.Plan{}, err
		}
	}
	return plan, nil
}

// plan is for all memory.
var plan = transport.Plan{Path: uapi.PathDevmemTCP, MaxLen: MaxLen, Align: 1, Batch: lanes.Batch}

// Dial connects as many pairs as the session says, and fails if one can't. The
// connections are never under TLS. Besides the errors of the interface, it
// returns one wrapping [transport.ErrProtocol] if what answers is no target of
// this version, and [transport.ErrUnavailable] if the NIC can't be set up.
func (t *devmem) Dial(ctx context.Context, s transport.Session) (transport.Link, error) {
	l := newLink(t, s)
	if err := l.Connect(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}
