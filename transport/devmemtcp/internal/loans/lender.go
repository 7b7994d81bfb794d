package loans

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"hbmfs/transport"
	"hbmfs/transport/devmemtcp/internal/receive"
)

const (
	// pairsPerUser is how many pairs of connections a user's loans go by, to one
	// target. A loan has a pair to itself until its payload is here.
	pairsPerUser = 4
	// spareRegions is how many regions are kept that no queue is bound to, for
	// users who come back.
	spareRegions = 4
	// budget is what one user may have borrowed at a time, in bytes of pages: a
	// fragment takes all of the page that it lies in.
	budget = 32 << 20
)

var pageSize = int64(os.Getpagesize())

var (
	errNoQueues  = fmt.Errorf("%w: no receive queue was set aside for loans (--lend-queues)", transport.ErrNoLoan)
	errGivenBack = fmt.Errorf("%w: the NIC is being given back", transport.ErrNoLoan)
	errVacated   = errors.New("the queue for loans is another user's now")
	errNoDMABuf  = errors.New("memory for loans has no dma-buf of its own: use a device whose memory has one, such as udmabuf")
)

// Size returns how large the memory of one user is that is lent, with queues of
// ring descriptors, for packets of mtu bytes. Rings, windows and what is being
// received come on top of what may be lent: so who keeps loans starves neither the
// NIC nor the sockets.
func Size(ring, mtu int) receive.PoolSize {
	s := receive.NewPoolSize(1, ring, mtu, pairsPerUser, messages)
	s.Lent = budget
	return s
}

// Link is whose loans they are: the connections to one target, at one NIC. Links
// are compared.
type Link interface {
	// Context ends with the link, and Ended then says why.
	Context() context.Context
	Ended() error
	// Go runs f on a goroutine, unless the link has ended.
	Go(f func()) bool
	// Connect opens a pair whose payload comes to q, with room for that many
	// control messages. An error that is not the target's wraps
	// [transport.ErrConnLost].
	Connect(ctx context.Context, q receive.Queue, messages int) (*receive.Pair, error)
	// Suspect has the NIC be looked at, because payload came to host memory.
	Suspect()
	// Leave says that a Borrow does not need the NIC any more.
	Leave()
}

// Config is what a lender has.
type Config struct {
	Queues  []int // of the NIC
	Bind    func(dmabuf int, queues ...int) (receive.Binding, error)
	Reserve transport.ReserveFunc
	Size    receive.PoolSize // of the memory of one user
}

// Lender has the queues for loans. Each is one user's at a time, and bound to a
// region that is his. Another user gets a queue of which nothing is lent and on
// which nothing is under way: before it is bound to his region, its pairs are
// closed and their flow rules deleted. So no late packet of the one can fall into
// the memory of the other.
//
// A region is bound to one queue at a time, and only while nothing of it is lent:
// a binding hands out all of its memory anew.
type Lender struct {
	cfg  Config
	turn chan struct{} // holds one: who has it binds and unbinds

	mu      sync.Mutex // guards all below, and what a tenancy says it does
	queues  []queue
	regions []*region
	clock   int64 // counts what is taken up and put down
	closed  bool
}

// queue is one of the NIC's queues.
type queue struct {
	number int
	tenant *tenancy // nil: nobody's
}

// New returns a lender, to be closed.
func New(cfg Config) *Lender {
	l := &Lender{cfg: cfg, turn: make(chan struct{}, 1)}
	for _, q := range cfg.Queues {
		l.queues = append(l.queues, queue{number: q})
	}
	return l
}

// tenants are those who have a queue.
func (l *Lender) tenants() (all []*tenancy) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, q := range l.queues {
		if q.tenant != nil {
			all = append(all, q.tenant)
		}
	}
	return all
}

// Drop ends what waits for a loan of link, and the link's pairs. Loans stay.
func (l *Lender) Drop(link Link) {
	for _, t := range l.tenants() {
		t.drop(link, transport.ErrClosed, true)
	}
}

// Close ends all tenancies, before the NIC is given back. Nobody borrows any more;
// loans stay.
func (l *Lender) Close() error {
	tenants := l.tenants()
	l.mu.Lock()
	l.closed = true
	for i := range l.queues {
		l.queues[i].tenant = nil
	}
	l.mu.Unlock()
	var errs []error
	for _, t := range tenants {
		errs = append(errs, t.end())
	}
	return errors.Join(errs...)
}

// Free gives the regions back that nothing is lent of, and leaves the others to
// the end of their loans.
func (l *Lender) Free() error {
	l.mu.Lock()
	regions := slices.Clone(l.regions)
	l.mu.Unlock()
	var errs []error
	for _, r := range regions {
		errs = append(errs, r.giveUp())
	}
	return errors.Join(errs...)
}
