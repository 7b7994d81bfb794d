package devmemtcp

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"hbmfs/cache/device"
	"hbmfs/transport"
	"hbmfs/transport/devmemtcp/internal/nic"
	"hbmfs/transport/devmemtcp/internal/receive"
	"hbmfs/transport/transporttest"
)

var alice, bob = transport.Domain{UID: 1000}, transport.Domain{UID: 1001}

// newLendBench is a bench that lends by so many queues of the loop's.
func newLendBench(t testing.TB, queues int, change ...func(*transport.Session)) *bench {
	t.Helper()
	return newLendBenchAt(t, queues, loopback, change...)
}

func newLendBenchAt(t testing.TB, queues int, listen listener, change ...func(*transport.Session)) *bench {
	t.Helper()
	b := &bench{loop: newLoop(t), t: t, source: transporttest.NewSource()}
	b.file = b.source.Add(1, 16*extent)
	c := b.config()
	c.LendQueues, c.Reserve = queues, b.reserve
	b.start(New(c), listen, change)
	return b
}

func (b *bench) borrow(dom transport.Domain, n int64) (transport.Loan, error) {
	return b.link.(transport.Lender).Borrow(b.t.Context(), dom, b.file, 8, n, 1000)
}

// lent borrows n bytes, or a beginning of them, for dom.
func (b *bench) lent(dom transport.Domain, n int64) transport.Loan {
	b.t.Helper()
	l, err := b.borrow(dom, n)
	if err == nil {
		err = b.intact(l, dom)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return l
}

// intact returns an error unless the loan is dom's and has the file's bytes.
func (b *bench) intact(l transport.Loan, dom transport.Domain) error {
	at := int64(8)
	for _, s := range l.Segments() {
		if s.Mem.Domain() != dom {
			return fmt.Errorf("memory of %v", s.Mem.Domain())
		}
		if err := transporttest.Check(s.Mem.Bytes()[s.Off:s.Off+s.Len], b.file, at); err != nil {
			return err
		}
		at += s.Len
	}
	return nil
}

// TestLoanNotSteered: payload of which some came to host memory can't be lent,
// and leaves nothing behind.
func TestLoanNotSteered(t *testing.T) {
	for _, told := range []bool{false, true} {
		for _, direct := range []bool{false, true} {
			b := newLendBench(t, 1, func(s *transport.Session) { s.RequireDirect = direct })
			want := transport.ErrNoLoan
			if direct {
				want = transport.ErrNotDirect
			}
			b.spoil(func(*loopReceived) {})
			b.spoil(func(r *loopReceived) { r.linear(told) })
			if l, err := b.borrow(alice, extent); !errors.Is(err, want) || errors.Is(err, transport.ErrConnLost) {
				t.Errorf("told %t, direct %t: %v, %v", told, direct, l, err)
			}
			if s := b.link.Stats().Devmem; s.Tokens != 0 || s.HostBytes+s.LinearBytes == 0 {
				t.Errorf("%+v", s)
			}
			b.lent(alice, extent).Return()
		}
	}
}

// TestLoanSpoiled has the kernel say what it must not: the loan fails, and the
// next one is by another pair.
func TestLoanSpoiled(t *testing.T) {
	first := func(r *loopReceived) []byte { return r.control[:controlSize] }
	for what, c := range map[string]struct {
		spoil func(*loopReceived)
		want  error
	}{
		"outside of the region": {func(r *loopReceived) { putOffset(first(r), 1<<40) }, receive.ErrControl},
		"wrong binding":         {func(r *loopReceived) { first(r)[32]++ }, receive.ErrControl},
		"cut message":           {func(r *loopReceived) { r.controls -= 8 }, receive.ErrControl},
		"cut by the kernel":     {func(r *loopReceived) { r.err = receive.ErrControl }, receive.ErrControl},
		"other bytes":           {func(r *loopReceived) { r.socket.pool.Mapped[readControl(first(r)).off] ^= 1 }, transport.ErrChecksum},
	} {
		t.Run(what, func(t *testing.T) {
			b := newLendBench(t, 1)
			held := b.lent(alice, 4096)
			b.spoil(c.spoil)
			if l, err := b.borrow(alice, extent); !errors.Is(err, c.want) {
				t.Errorf("%v, %v", l, err)
			}
			if err := b.intact(held, alice); err != nil {
				t.Error(err)
			}
			b.lent(alice, extent).Return()
			held.Return()
		})
	}
}

// TestLoanTwoQueues: two users have a queue each, and a third none until one has
// given all back.
func TestLoanTwoQueues(t *testing.T) {
	b := newLendBench(t, 2)
	first, second := b.lent(alice, extent), b.lent(bob, extent)
	carol := transport.Domain{UID: 1002}
	if l, err := b.borrow(carol, 1); !errors.Is(err, transport.ErrLoanBudget) {
		t.Errorf("%v, %v", l, err)
	}
	if err := errors.Join(b.intact(first, alice), b.intact(second, bob)); err != nil {
		t.Error(err)
	}
	first.Return()
	b.lent(carol, extent).Return()
	if l, err := b.borrow(alice, 1); err != nil {
		t.Error(err) // carol's queue
	} else {
		l.Return()
	}
	second.Return()
}

// TestLoanManyUsers: memory is kept for few of those who come and go.
func TestLoanManyUsers(t *testing.T) {
	const spareRegions = 4
	b := newLendBench(t, 1)
	for range 2 {
		for uid := range uint32(3 * spareRegions) {
			b.lent(transport.Domain{UID: uid}, 64<<10).Return()
		}
	}
	b.mu.Lock()
	open := -1 // the receive pool
	for _, p := range b.pools {
		if !p.closed {
			open++
		}
	}
	b.mu.Unlock()
	if open > spareRegions+2 {
		t.Errorf("%d regions", open)
	}
}

// TestLoanOfRegular: a user who comes back has the memory that he had.
func TestLoanOfRegular(t *testing.T) {
	b := newLendBench(t, 1)
	had := make(map[transport.Domain]transport.Memory)
	for i := range 6 {
		dom := []transport.Domain{alice, bob}[i%2]
		l := b.lent(dom, 64<<10)
		mem := l.Segments()[0].Mem
		if had[dom] != nil && had[dom] != mem {
			t.Errorf("%v has other memory", dom)
		}
		had[dom] = mem
		l.Return()
	}
}

// TestLoanUnavailable: what is missing is no reason not to fetch.
func TestLoanUnavailable(t *testing.T) {
	errNone := errors.New("no memory")
	for what, c := range map[string]struct {
		queues  int
		reserve transport.ReserveFunc
		want    error
	}{
		"no queue":  {0, nil, transport.ErrNoLoan},
		"no memory": {1, func(transport.Domain, int64) (transport.LoanMemory, error) { return nil, errNone }, errNone},
		"no dma-buf": {1, func(dom transport.Domain, n int64) (transport.LoanMemory, error) {
			p, err := device.Open("memfd")
			if err != nil {
				return nil, err
			}
			return p.Alloc(dom, n)
		}, transport.ErrNoLoan},
	} {
		t.Run(what, func(t *testing.T) {
			b := &bench{loop: newLoop(t), t: t, source: transporttest.NewSource()}
			b.file = b.source.Add(1, 16*extent)
			cfg := b.config()
			cfg.LendQueues, cfg.Reserve = c.queues, c.reserve
			b.start(New(cfg), loopback, nil)
			for range 2 {
				if l, err := b.borrow(alice, 1); !errors.Is(err, c.want) || !errors.Is(err, transport.ErrNoLoan) {
					t.Errorf("%v, %v", l, err)
				}
			}
			b.healthy()
		})
	}
}

// TestLoanTargetRestarts: what is lent stays, and once more is enough.
func TestLoanTargetRestarts(t *testing.T) {
	b := newLendBench(t, 1)
	for range 3 {
		held := []transport.Loan{b.lent(alice, extent), b.lent(alice, 4096)}
		b.target.drop()
		l, err := b.borrow(alice, extent)
		if errors.Is(err, transport.ErrConnLost) {
			l, err = b.borrow(alice, extent)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range append(held, l) {
			if err := b.intact(h, alice); err != nil {
				t.Error(err)
			}
			h.Return()
		}
	}
}

// TestLoanNICIsSetUpAnew: who holds a loan does not keep the NIC from being set
// up again, and his bytes stay.
func TestLoanNICIsSetUpAnew(t *testing.T) {
	b := newLendBench(t, 1)
	held := b.lent(alice, extent)
	b.mu.Lock()
	b.sound = fmt.Errorf("loop: %w: split is off", nic.ErrChanged)
	b.mu.Unlock()
	b.target.drop()
	for opened, until := 1, time.Now().Add(20*time.Second); opened < 2; time.Sleep(time.Millisecond) {
		b.mu.Lock()
		if opened = b.opened; opened == 2 {
			b.sound = nil
		}
		b.mu.Unlock()
		if time.Now().After(until) {
			t.Fatal("not set up anew")
		}
	}
	b.healthy()
	other := b.lent(alice, extent)
	if err := errors.Join(b.intact(held, alice), b.intact(other, alice)); err != nil {
		t.Error(err)
	}
	if held.Segments()[0].Mem == other.Segments()[0].Mem {
		t.Error("memory that is lent was bound again")
	}
	held.Return()
	other.Return()
}

// TestLoanSlowHandOver: a kernel that takes longer to unbind a queue than a target
// may be silent delays the next user, who gets his loan. One who won't wait is let go
// at once, and the queue is handed over without him.
func TestLoanSlowHandOver(t *testing.T) {
	const slow = 600 * time.Millisecond
	b := newLendBench(t, 1, func(s *transport.Session) { s.Timeout = slow / 3 })
	b.lent(alice, 4096).Return()
	b.unbind = slow
	b.lent(bob, 4096).Return()

	ctx, cancel := context.WithTimeout(t.Context(), slow/6)
	defer cancel()
	begin := time.Now()
	if _, err := b.link.(transport.Lender).Borrow(ctx, alice, b.file, 8, 4096, 1000); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("who won't wait: %v", err)
	}
	if took := time.Since(begin); took >= slow {
		t.Errorf("who won't wait is let go after %v", took)
	}
	b.lent(alice, 4096).Return()
	if n := b.bindings(); n != 4 {
		t.Errorf("%d bindings, of the pool, of alice twice and of bob", n)
	}
}
