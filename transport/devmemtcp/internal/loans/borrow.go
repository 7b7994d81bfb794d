package loans

import (
	"context"
	"errors"
	"fmt"

	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/devmemtcp/internal/receive"
	"hbmfs/transport/internal/landing"
)

// Request is what is to be lent.
type Request struct {
	Domain   transport.Domain
	File     transport.FileRef
	Off, Len int64
	Limit    int // of segments
}

// borrowing is a Borrow under way.
type borrowing struct {
	Request
	link   Link
	pair   *pair
	region *region
	loan   *Loan
	hosts  bool  // some came to host memory
	came   int64 // fragments
	back   receive.Tokens
}

// Borrow does what [transport.Lender] says, and calls link.Leave once, perhaps
// later, when it needs the NIC no more. Payload of which some came to host memory is
// not lent: the error wraps [transport.ErrNoLoan], or [transport.ErrNotDirect] with
// Session.RequireDirect. The target may be silent for Session.Timeout at a time; how
// long the kernel takes to hand a queue over does not count.
func (l *Lender) Borrow(ctx context.Context, link Link, r Request) (*Loan, error) {
	t, err := l.enter(ctx, link, r.Domain)
	if err != nil {
		return nil, err
	}
	defer t.leave(link)
	b := borrowing{Request: r, link: link, region: t.region}
	if err := b.run(ctx, t); err != nil {
		return nil, err
	}
	return b.loan, nil
}

func (b *borrowing) run(ctx context.Context, t *tenancy) error {
	select {
	case t.slots <- struct{}{}:
		defer func() { <-t.slots }()
	case <-ctx.Done():
		return ctx.Err()
	case <-b.link.Context().Done():
		return transport.ErrClosed
	}
	if landing.Revoked(b.region.mem) {
		return transport.ErrRevoked
	}
	if !b.moderate(t) {
		return fmt.Errorf("%w: %d MiB, which is all that a user may", transport.ErrLoanBudget, t.lender.cfg.Size.Lent>>20)
	}
	var err error
	if b.pair, err = t.acquire(ctx, b.link); err != nil {
		return errors.Join(ctx.Err(), err)
	}
	defer t.putBack(b.pair)
	if err := b.interruptibly(ctx); err != nil {
		return err
	}
	b.learn(t)
	return nil
}

// moderate asks for no more than there is room for, going by what the latest
// payloads came in. It reports false if there is none.
func (b *borrowing) moderate(t *tenancy) bool {
	left := t.region.left() / pageSize
	t.lender.mu.Lock()
	defer t.lender.mu.Unlock()
	room := int64(b.Limit) * t.segment
	b.Len = min(b.Len, maxLoan, max(left*t.fragment, 1), max(room-room/8, 1))
	return left > 0
}

// learn notes what the payload came in.
func (b *borrowing) learn(t *tenancy) {
	if b.Len < 16*pageSize {
		return
	}
	t.lender.mu.Lock()
	defer t.lender.mu.Unlock()
	t.fragment = b.Len / b.came
	t.segment = max((t.segment+b.loan.covered/int64(len(b.loan.segments)))/2, t.fragment)
}

// interruptibly exchanges unless ctx ends.
func (b *borrowing) interruptibly(ctx context.Context) error {
	p := b.pair
	stop := context.AfterFunc(ctx, func() { p.kill(ctx.Err()) })
	p.expect()
	sum, err := b.exchange()
	p.rest()
	stop()
	if err != nil {
		b.abandon()
		return err
	}
	b.assemble(sum)
	if err := b.visible(); err != nil {
		b.loan.Return()
		return err
	}
	return nil
}

// abandon gives back all that came.
func (b *borrowing) abandon() {
	kept := int64(0)
	for _, f := range b.pair.kept {
		kept += pages(f)
	}
	b.back.AddParts(b.pair.kept)
	b.pair.giveBack(&b.back)
	b.region.back(kept)
}

// assemble makes a loan of what was kept, from the beginning on, and gives the
// rest back.
func (b *borrowing) assemble(sum checksum) {
	p := b.pair
	b.loan = &Loan{
		pair: p, region: b.region,
		segments: make([]transport.Span, 0, min(b.Limit, len(p.kept))),
		kept:     make([]receive.Part, 0, len(p.kept)),
	}
	var rest int64
	full := false
	for _, c := range p.pieces {
		for _, f := range p.kept[c.from:c.until] {
			if full = full || !b.loan.add(f, b.Limit); full {
				b.back.Add(f.Token)
				rest += pages(f)
			}
		}
		full = full || c.cut
	}
	p.kept = p.kept[:0]
	p.giveBack(&b.back)
	b.region.back(rest)
	p.hold()
	b.loan.res = transport.Result{Path: uapi.PathDevmemTCP}
	if len(p.pieces) == 1 && b.loan.covered == b.Len {
		b.loan.res.CRC, b.loan.res.HasCRC = sum.crc, sum.known
	}
}
