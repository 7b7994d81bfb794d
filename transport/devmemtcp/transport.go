package devmemtcp

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"hbmfs/transport"
	"hbmfs/transport/devmemtcp/internal/nic"
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
	newSocket func(dialled) (socket, error)
}

const defaultPairs = 4

// devmem is the transport. It has the NIC's queues while someone needs them.
type devmem struct {
	cfg  Config
	lent atomic.Int64 // fragments of loans, which outlive links

	mu    sync.Mutex // guards all below; held while the NIC is set up or checked
	users int        // links, and Plans under way
	rx    *receiver  // nil without users, or after the NIC could not be set up again
}

// New returns the transport. Nothing is changed on the NIC before Plan, which
// changes it back, or Dial.
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

// acquire sets the receiver up for its first user.
func (t *devmem) acquire() (*receiver, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.setUp(); err != nil {
		return nil, err
	}
	t.users++
	return t.rx, nil
}

// setUp makes a receiver, if there is none. t.mu is held.
func (t *devmem) setUp() error {
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

// release undoes one acquire. The last user's sockets must be closed.
func (t *devmem) release() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.users--; t.users > 0 || t.rx == nil {
		return nil
	}
	rx := t.rx
	t.rx = nil
	return rx.close()
}

// join returns the receiver for a new pair. If someone has changed the NIC
// underneath, it is set up anew as soon as no pair uses it; until then new pairs
// are as good as those there are, and say so in each result.
func (t *devmem) join() (*receiver, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rx != nil {
		switch err := t.rx.nic.Check(); {
		case err == nil:
		case t.rx.pairs == 0:
			_ = t.rx.close() // what can't be put back was changed, or is gone
			t.rx = nil
		case !errors.Is(err, nic.ErrChanged):
			return nil, err
		}
	}
	if err := t.setUp(); err != nil {
		return nil, err
	}
	t.rx.pairs++
	return t.rx, nil
}

// hold returns the receiver to who borrows. Until it leaves, the NIC is not set
// up anew.
func (t *devmem) hold() (*receiver, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.setUp(); err != nil {
		return nil, err
	}
	t.rx.pairs++
	return t.rx, nil
}

// leave undoes a join, of which the sockets are closed, or a hold.
func (t *devmem) leave(rx *receiver) {
	t.mu.Lock()
	defer t.mu.Unlock()
	rx.pairs--
}

// Plan does what Dial needs of the NIC: it takes the queues, has their payload
// land in a pool, and gives all back, unless a link uses them already.
func (t *devmem) Plan(mem transport.Memory) (transport.Plan, error) {
	if landing.Revoked(mem) {
		return transport.Plan{}, fmt.Errorf("%w: %w", transport.ErrUnavailable, transport.ErrRevoked)
	}
	rx, err := t.acquire()
	if err != nil {
		return transport.Plan{}, err
	}
	p := transport.Plan{Path: transport.PathDevmemTCP, MaxLen: MaxLen, Align: 1}
	if isHost(mem) {
		p.Path, p.Why = transport.PathStaged, transport.WhyPlainRead
		if !rx.readable() {
			err = fmt.Errorf("devmem-tcp: %w: the CPU can't read the receive pool", transport.ErrUnavailable)
		}
	}
	if err = errors.Join(err, t.release()); err != nil {
		return transport.Plan{}, err
	}
	return p, nil
}

func isHost(mem transport.Memory) bool {
	_, host := mem.(transport.HostMemory)
	return host
}

// Dial connects as many pairs as the session says, and fails if one can't. The
// connections are never under TLS. Besides the errors of the interface, it
// returns one wrapping [transport.ErrProtocol] if what answers is no target of
// this version, and [transport.ErrUnavailable] if the NIC can't be set up.
func (t *devmem) Dial(ctx context.Context, s transport.Session) (transport.Link, error) {
	if _, err := t.acquire(); err != nil {
		return nil, err
	}
	l := newLink(t, s)
	if err := l.Connect(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}
