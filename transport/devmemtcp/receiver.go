package devmemtcp

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"hbmfs/transport/devmemtcp/internal/loans"
	"hbmfs/transport/devmemtcp/internal/receive"
	"hbmfs/transport/internal/lanes"
)

// nicPort is what the transport needs of a NIC.
type nicPort interface {
	Queues() []int
	MTU() int
	RingSize() (int, error)
	Bind(dmabuf int, queues ...int) (receive.Binding, error)
	Steer(local, remote netip.AddrPort, queue int) (io.Closer, error)
	Check() error
	Close() error
}

// receiver is a NIC whose taken queues are bound to a pool. Pairs share it.
type receiver struct {
	nic      nicPort
	pool     PoolMemory
	binding  receive.Binding
	size     PoolSize
	queues   []int         // bound to the pool
	next     atomic.Uint32 // of them
	lender   *loans.Lender
	nextLook atomic.Int64 // when to look at the NIC, since began

	// Guarded by devmem.mu:
	pairs int                // that use it, and borrowers
	conns map[*conn]struct{} // pairs that are up
	stale error              // how somebody changed the NIC; nil: not
}

// lookEvery is how often at most payload in host memory has the NIC be looked at.
const lookEvery = time.Second

var began = time.Now()

// mayLook reports whether it is time to look at the NIC again, to one caller.
func (r *receiver) mayLook() bool {
	now, next := int64(time.Since(began)), r.nextLook.Load()
	return now >= next && r.nextLook.CompareAndSwap(next, now+int64(lookEvery))
}

// stalePairs are pairs to end because of why.
type stalePairs struct {
	why   error
	conns []*conn
}

// ending are the receiver's pairs, if it is stale. devmem.mu is held.
func (r *receiver) ending() stalePairs {
	if r.stale == nil {
		return stalePairs{}
	}
	return stalePairs{r.stale, slices.Collect(maps.Keys(r.conns))}
}

func (s stalePairs) kill() {
	for _, c := range s.conns {
		c.Kill(lanes.Lost(s.why))
	}
}

// newReceiver takes queues of cfg's NIC. The error says what is missing.
func newReceiver(cfg Config) (*receiver, error) {
	nic, err := cfg.openNIC(cfg)
	if err != nil {
		return nil, err
	}
	r := &receiver{nic: nic, conns: make(map[*conn]struct{})}
	if err := r.bind(cfg); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *receiver) bind(cfg Config) error {
	ring, err := r.nic.RingSize()
	if err != nil {
		return err
	}
	taken := r.nic.Queues()
	r.queues = taken[:len(taken)-cfg.LendQueues]
	r.lender = loans.New(loans.Config{
		Queues: taken[len(r.queues):], Bind: r.nic.Bind, Reserve: cfg.Reserve, Size: NewLoanSize(ring, r.nic.MTU()),
	})
	r.size = NewPoolSize(len(r.queues), ring, r.nic.MTU(), cfg.Pairs)
	if r.pool, err = cfg.Pool(r.size.Total()); err != nil {
		return fmt.Errorf("receive pool of %d bytes: %w", r.size.Total(), err)
	}
	fd, off, ok := r.pool.DMABuf()
	if !ok || off != 0 {
		return errors.New("the receive pool has no dma-buf of its own: use a device whose memory has one, such as udmabuf")
	}
	r.binding, err = r.nic.Bind(fd, r.queues...)
	return err
}

// nextQueue is the queue for a new pair.
func (r *receiver) nextQueue() receive.Queue {
	n := r.queues[int(r.next.Add(1)-1)%len(r.queues)]
	return receive.Queue{Number: n, Memory: r.pool, Binding: r.binding}
}

// close gives back all there is, the NIC's access to the pool first.
func (r *receiver) close() error {
	var errs []error
	if r.lender != nil {
		errs = append(errs, r.lender.Close())
	}
	if r.binding != nil {
		errs = append(errs, r.binding.Close())
	}
	errs = append(errs, r.nic.Close())
	if r.pool != nil {
		errs = append(errs, r.pool.Close())
	}
	if r.lender != nil {
		errs = append(errs, r.lender.Free())
	}
	return errors.Join(errs...)
}
