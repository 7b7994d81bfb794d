package transport

import (
	"context"
	"errors"
)

var (
	// ErrNoLoan: the link lends nothing now, for a reason that a loan of less
	// would not cure. The bytes are to be had by a request.
	ErrNoLoan = errors.New("nothing can be lent")
	// ErrLoanBudget: as much as may be is lent already, or all receive queues
	// are lent to other users.
	ErrLoanBudget = errors.New("too much is lent")
)

// Lender is an optional power of a [Link]: it leaves payload where the NIC put
// it, and lends that.
type Lender interface {
	// Borrow brings bytes [off, off+n) of a file, n at least 1, into memory that
	// was reserved for dom, and returns once the device sees them, or soon after
	// ctx has ended. How long a peer may keep it waiting is the session's to say;
	// making memory ready for dom may take longer than that. The loan covers the range, or a beginning of it that is not
	// empty: where all of it takes more than limit segments, limit at least 1, or
	// is more than is lent at once.
	//
	// The error is ctx's, or as a request's, or wraps [ErrNoLoan] or
	// [ErrLoanBudget]. With an error nothing is lent.
	Borrow(ctx context.Context, dom Domain, file FileRef, off, n int64, limit int) (Loan, error)
}

// Loan is bytes of one version of a file, where the NIC put them. Nothing writes
// there until Return, whatever becomes of the file, the connection and the link:
// [Link.Close] does not wait for loans.
type Loan interface {
	// Segments lists where the bytes are, in the file's order. Each Mem is one
	// that the lender was given for the domain; neighbours in the same memory are
	// one segment. The slice must not be changed.
	Segments() []Span
	// Result says how the bytes came. Its checksum is of all of them.
	Result() Result
	// Return gives the memory back for other payload. Only the first call does
	// anything. It may be called from any goroutine and does not wait for a peer.
	Return()
}

// LoanMemory is memory that a [Lender] was given to lend: the payload of one
// domain, and nothing else, may be put into it.
type LoanMemory interface {
	Memory
	// Close gives the memory back to its owner. By then none of it is lent, and
	// no device writes it any more.
	Close() error
}

// ReserveFunc gives a [Lender] memory of size bytes for a domain.
type ReserveFunc func(dom Domain, size int64) (LoanMemory, error)
