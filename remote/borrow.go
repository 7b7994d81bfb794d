package remote

import (
	"context"
	"errors"
	"fmt"

	"hbmfs/remote/session"
	"hbmfs/transport"
)

// Borrow has bytes [off, off+n) of the file, n at least 1, left where the NIC
// puts them, and lent: all of them or a beginning, as [transport.Lender] says.
// They are of this version. The caller returns the loan.
//
// The error wraps [transport.ErrNoLoan] if the path can't lend,
// [transport.ErrLoanBudget], [transport.ErrStale], another of package
// transport's, or is ctx's. A request that is lost is issued again as ever.
func (f *File) Borrow(ctx context.Context, dom transport.Domain, off, n int64, limit int) (transport.Loan, error) {
	if off < 0 || n < 1 || limit < 1 || off > f.Size()-n {
		return nil, fmt.Errorf("loan of %d bytes in %d segments at %d of a file of %d: %w", n, limit, off, f.Size(), transport.ErrRange)
	}
	if f.Stale() {
		return nil, f.errStale()
	}
	if !f.acquire() {
		return nil, fmt.Errorf("%s/%s: %w", f.dataset, f.path, transport.ErrClosed)
	}
	defer f.release()
	var loan transport.Loan
	tries := 0
	w := f.t.startWait()
	inner, cancel := context.WithTimeout(ctx, w.limit)
	defer cancel()
	err := f.t.retry(inner, func(_ context.Context, s *session.Session) (err error) {
		if tries++; tries > 1 {
			f.t.counters.retries.Add(1)
		}
		// The link has the session's time-out. A queue that it has to take from
		// another user is not the target's to answer for.
		loan, err = f.borrowIn(ctx, s, dom, off, n, limit)
		return err
	})
	if isLost(err) || errors.Is(err, context.DeadlineExceeded) {
		err = f.t.overdue(ctx, inner, w, err)
	}
	if errors.Is(err, transport.ErrNoLoan) {
		return nil, err // a request follows, and counts
	}
	res := transport.Result{Err: f.judge(err)}
	if err == nil {
		res, n = loan.Result(), lent(loan)
	}
	f.t.counters.ended(&res, n)
	if err != nil {
		return nil, err
	}
	return loan, nil
}

var errNoLender = fmt.Errorf("%w: the transport in use does not lend; devmem-tcp does, with --lend-queues", transport.ErrNoLoan)

// borrowIn borrows by a link of the session s.
func (f *File) borrowIn(ctx context.Context, s *session.Session, dom transport.Domain, off, n int64, limit int) (transport.Loan, error) {
	lender, ok := s.Links.Lender()
	if !ok {
		return nil, errNoLender
	}
	ref, err := f.refIn(s)
	if err != nil {
		return nil, err
	}
	return lender.Borrow(ctx, dom, ref, off, n, limit)
}

// lent is how many bytes a loan has.
func lent(l transport.Loan) int64 {
	var n int64
	for _, s := range l.Segments() {
		n += s.Len
	}
	return n
}
