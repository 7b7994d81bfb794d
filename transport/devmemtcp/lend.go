package devmemtcp

import (
	"context"
	"errors"
	"fmt"

	"hbmfs/transport"
	"hbmfs/transport/devmemtcp/internal/loans"
	"hbmfs/transport/devmemtcp/internal/receive"
	"hbmfs/transport/internal/lanes"
)

// Borrow implements [transport.Lender]; see [loans.Lender.Borrow].
func (l *link) Borrow(ctx context.Context, dom transport.Domain, file transport.FileRef, off, n int64, limit int) (transport.Loan, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !l.Begin() {
		return nil, l.Ended()
	}
	loan, err := l.borrow(ctx, loans.Request{Domain: dom, File: file, Off: off, Len: n, Limit: limit})
	if err != nil {
		l.End(err, 0)
		if errors.Is(err, transport.ErrNoLoan) { // a request follows, which says what it is about
			return nil, err
		}
		return nil, fmt.Errorf("%s %s: loan of %d bytes at %d of file %d: %w", Name, l.Session.Addr, n, off, file.Handle, err)
	}
	l.End(nil, loan.Len())
	return loan, nil
}

func (l *link) borrow(ctx context.Context, r loans.Request) (*loans.Loan, error) {
	if r.Off < 0 || r.Len < 1 || r.Limit < 1 || r.Off > r.Off+r.Len {
		return nil, transport.ErrRange
	}
	rx, err := l.owner.hold()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", transport.ErrNoLoan, err)
	}
	return rx.lender.Borrow(ctx, borrower{l, rx}, r)
}

// endLoans ends what waits for a loan, and the pairs for loans.
func (l *link) endLoans() {
	l.owner.mu.Lock()
	rx := l.owner.rx
	l.owner.mu.Unlock()
	if rx != nil {
		rx.lender.Drop(borrower{l, rx})
	}
}

// borrower is a link at a receiver that it holds: a [loans.Link].
type borrower struct {
	*link
	rx *receiver
}

// Connect implements [loans.Link], within the session's time-out.
func (b borrower) Connect(ctx context.Context, q receive.Queue, messages int) (*receive.Pair, error) {
	ctx, cancel := context.WithTimeout(ctx, b.Session.Timeout)
	defer cancel()
	defer context.AfterFunc(b.Context(), cancel)()
	p, err := b.assemble(ctx, &dialled{rx: b.rx, queue: q}, messages, &b.owner.lent)
	if err != nil && !errors.Is(err, transport.ErrSession) && !errors.Is(err, transport.ErrProtocol) {
		err = lanes.Lost(err)
	}
	return p, err
}

// Suspect implements [loans.Link].
func (b borrower) Suspect() { b.suspect(b.rx) }

// Leave implements [loans.Link].
func (b borrower) Leave() { b.owner.leave(b.rx) }
