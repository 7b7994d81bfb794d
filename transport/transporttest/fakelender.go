package transporttest

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"sync"
	"time"

	"hbmfs/fs/uapi"
	"hbmfs/transport"
)

const (
	fakePage   = 4096
	fakeBudget = 256 // pages that a link lends
)

// FakeLender is another transport whose links lend as a NIC with one receive
// queue would: each has some pages of memory for one domain at a time, and
// payload falls into whichever of them are free.
type FakeLender struct {
	transport.Transport
	// Reserve gives the memory.
	Reserve transport.ReserveFunc
	// Path, if not [uapi.PathNone], is how all bytes are said to come.
	Path uapi.Path
}

// Plan is the other transport's, by Path.
func (f FakeLender) Plan(mem transport.Memory) (transport.Plan, error) {
	p, err := f.Transport.Plan(mem)
	return f.plan(p), err
}

func (f FakeLender) plan(p transport.Plan) transport.Plan {
	if f.Path != uapi.PathNone {
		p.Path, p.Why = f.Path, uapi.WhyBest
	}
	return p
}

// Dial returns a link that is a [transport.Lender].
func (f FakeLender) Dial(ctx context.Context, s transport.Session) (transport.Link, error) {
	l, err := f.Transport.Dial(ctx, s)
	if err != nil {
		return nil, err
	}
	return &lendingLink{Link: l, fake: f, checksums: s.Checksums}, nil
}

type lendingLink struct {
	transport.Link
	fake      FakeLender
	checksums bool

	mu     sync.Mutex // guards all below
	queue  *fakeQueue // nil: nobody's
	closed bool
}

// fakeQueue is the memory of a domain. It goes when the last page is back, if
// another domain wants the queue or the link was closed.
type fakeQueue struct {
	dom  transport.Domain
	mem  transport.LoanMemory
	att  transport.Attachment
	free []int64 // offsets of pages
}

// fragment is a part of a payload and where it fell.
type fragment struct {
	off int64
	to  transport.Span
}

// Attach is the other link's, by Path.
func (l *lendingLink) Attach(ctx context.Context, mem transport.Memory) (transport.Attachment, error) {
	a, err := l.Link.Attach(ctx, mem)
	return lendingAttachment{a, l.fake}, err
}

type lendingAttachment struct {
	transport.Attachment
	fake FakeLender
}

func (a lendingAttachment) Plan() transport.Plan { return a.fake.plan(a.Attachment.Plan()) }

// Borrow implements [transport.Lender].
func (l *lendingLink) Borrow(ctx context.Context, dom transport.Domain, file transport.FileRef, off, n int64, limit int) (transport.Loan, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if off < 0 || n < 1 || limit < 1 {
		return nil, fmt.Errorf("fake lender: %w", transport.ErrRange)
	}
	q, parts, err := l.receive(ctx, dom, off, n, limit)
	if err != nil {
		return nil, fmt.Errorf("fake lender: %w", err)
	}
	arrived := make(chan transport.Result, 1)
	go func() { arrived <- l.read(file, parts) }()
	select {
	case res := <-arrived:
		if res.Err != nil {
			l.giveBack(q, parts)
			return nil, res.Err
		}
		return l.loan(q, parts, res), nil
	case <-ctx.Done():
		go func() { // late bytes still have their pages
			<-arrived
			l.giveBack(q, parts)
		}()
		return nil, ctx.Err()
	}
}

// receive takes the pages that a payload falls into: as many as are free, and as
// limit segments have room for.
func (l *lendingLink) receive(ctx context.Context, dom transport.Domain, off, n int64, limit int) (*fakeQueue, []fragment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q, err := l.queueOf(ctx, dom)
	if err != nil {
		return nil, nil, err
	}
	var parts []fragment
	for segments := 0; n > 0 && len(q.free) > 0; {
		last := len(q.free) - 1
		to := transport.Span{Mem: q.mem, Off: q.free[last], Len: min(n, fakePage)}
		if len(parts) == 0 || !follows(parts[len(parts)-1].to, to) {
			segments++
		}
		if segments > limit {
			break
		}
		q.free = q.free[:last]
		parts = append(parts, fragment{off, to})
		off, n = off+to.Len, n-to.Len
	}
	if len(parts) == 0 {
		return nil, nil, transport.ErrLoanBudget
	}
	return q, parts, nil
}

// follows reports whether b begins where a ends.
func follows(a, b transport.Span) bool { return a.Mem == b.Mem && a.Off+a.Len == b.Off }

// queueOf returns the queue if it is dom's, or nobody has anything in it. With mu.
func (l *lendingLink) queueOf(ctx context.Context, dom transport.Domain) (*fakeQueue, error) {
	if l.closed {
		return nil, transport.ErrClosed
	}
	if l.queue != nil && l.queue.dom != dom {
		if len(l.queue.free) < fakeBudget {
			return nil, fmt.Errorf("%w: the queue is another user's", transport.ErrLoanBudget)
		}
		l.queue.end()
		l.queue = nil
	}
	if l.queue == nil {
		q, err := l.newQueue(ctx, dom)
		if err != nil {
			return nil, err
		}
		l.queue = q
	}
	return l.queue, nil
}

func (l *lendingLink) newQueue(ctx context.Context, dom transport.Domain) (*fakeQueue, error) {
	mem, err := l.fake.Reserve(dom, fakeBudget*fakePage)
	if err != nil {
		return nil, err
	}
	att, err := l.Attach(ctx, mem)
	if err != nil {
		return nil, errors.Join(err, mem.Close())
	}
	q := &fakeQueue{dom: dom, mem: mem, att: att}
	// Mostly apart, and now and then in a row.
	for _, group := range rand.Perm(fakeBudget / 4) {
		first := int64(group) * 4 * fakePage
		q.free = append(q.free, first+fakePage, first, first+3*fakePage, first+2*fakePage)
	}
	return q, nil
}

// end gives the memory back. A fake has nobody to tell if that fails.
func (q *fakeQueue) end() {
	_ = q.att.Close()
	_ = q.mem.Close()
}

// read reads the fragments, and returns how the worst came.
func (l *lendingLink) read(file transport.FileRef, parts []fragment) transport.Result {
	ended := make(chan transport.Result, len(parts))
	reqs := make([]*transport.Request, len(parts))
	for i, p := range parts {
		reqs[i] = &transport.Request{File: file, Off: p.off, Dst: p.to, To: Done(func(r transport.Result) { ended <- r })}
	}
	var worst transport.Result
	for len(reqs) > 0 {
		n, err := l.Submit(reqs)
		if err != nil {
			worst.Err = err
			break
		}
		if reqs = reqs[n:]; n == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	for range len(parts) - len(reqs) {
		r := <-ended
		if worst.Err == nil && (r.Err != nil || worst.Path == uapi.PathNone || r.Path < worst.Path) {
			worst = r
		}
	}
	if worst.Err != nil {
		return transport.Result{Err: worst.Err}
	}
	return worst
}

func (l *lendingLink) loan(q *fakeQueue, parts []fragment, res transport.Result) transport.Loan {
	loan := &fakeLoan{res: res, back: func() { l.giveBack(q, parts) }}
	res.HasCRC, res.CRC = l.checksums, 0
	for _, p := range parts {
		last := len(loan.segments) - 1
		if last >= 0 && follows(loan.segments[last], p.to) {
			loan.segments[last].Len += p.to.Len
		} else {
			loan.segments = append(loan.segments, p.to)
		}
		if l.checksums {
			res.CRC = crc32.Update(res.CRC, castagnoli, q.mem.Bytes()[p.to.Off:][:p.to.Len])
		}
	}
	if l.fake.Path != uapi.PathNone {
		res.Path, res.Why, res.HostCopies, res.DeviceCopies = l.fake.Path, uapi.WhyBest, 0, 0
	}
	loan.res = res
	return loan
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// giveBack takes pages back, and scribbles over them as the next payload would.
func (l *lendingLink) giveBack(q *fakeQueue, parts []fragment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := len(parts) - 1; i >= 0; i-- {
		page := parts[i].to
		Scribble(page.Mem.Bytes()[page.Off:][:fakePage])
		q.free = append(q.free, page.Off)
	}
	if l.closed && len(q.free) == fakeBudget {
		q.end()
	}
}

// Close leaves what is lent alone.
func (l *lendingLink) Close() error {
	err := l.Link.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed && l.queue != nil && len(l.queue.free) == fakeBudget {
		l.queue.end()
	}
	l.closed = true
	return err
}

type fakeLoan struct {
	segments []transport.Span
	res      transport.Result
	once     sync.Once
	back     func()
}

func (l *fakeLoan) Segments() []transport.Span { return l.segments }
func (l *fakeLoan) Result() transport.Result   { return l.res }
func (l *fakeLoan) Return()                    { l.once.Do(l.back) }
