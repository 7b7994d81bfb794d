package devmemtcp

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/internal/lanes"
	"hbmfs/transport/internal/status"
)

// Borrow implements [transport.Lender]. Payload of which some came to host memory
// is not lent: the error wraps [transport.ErrNoLoan], or [transport.ErrNotDirect]
// with Session.RequireDirect.
func (l *link) Borrow(ctx context.Context, dom transport.Domain, file transport.FileRef, off, n int64, limit int) (transport.Loan, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !l.Begin() {
		return nil, l.Ended()
	}
	b := borrowing{link: l, file: file, off: off, n: n, limit: limit}
	loan, err := b.run(ctx, dom)
	if err != nil {
		l.End(err, 0)
		if errors.Is(err, transport.ErrNoLoan) { // a request follows, which says what it is about
			return nil, err
		}
		return nil, fmt.Errorf("%s %s: loan of %d bytes at %d of file %d: %w", Name, l.Session.Addr, n, off, file.Handle, err)
	}
	l.End(nil, loan.covered)
	return loan, nil
}

// endLoans ends what waits for a loan, and the pairs for loans.
func (l *link) endLoans() {
	l.owner.mu.Lock()
	rx := l.owner.rx
	l.owner.mu.Unlock()
	if rx == nil {
		return
	}
	rx.lending.mu.Lock()
	var tenancies []*tenancy
	for _, q := range rx.lending.queues {
		if q.tenant != nil {
			tenancies = append(tenancies, q.tenant)
		}
	}
	rx.lending.mu.Unlock()
	for _, t := range tenancies {
		for _, p := range t.takePairs(l) {
			p.kill(transport.ErrClosed)
			p.retire()
		}
	}
}

// borrowing is a Borrow under way.
type borrowing struct {
	link   *link
	file   transport.FileRef
	off, n int64
	limit  int

	pair      *lendPair
	region    *lendRegion
	loan      *loan
	hosts     bool  // some came to host memory
	fragments int64 // that came
	back      tokens
}

func (b *borrowing) run(ctx context.Context, dom transport.Domain) (*loan, error) {
	if b.off < 0 || b.n < 1 || b.limit < 1 || b.off > b.off+b.n {
		return nil, transport.ErrRange
	}
	rx, err := b.link.owner.hold()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", transport.ErrNoLoan, err)
	}
	defer b.link.owner.leave(rx)
	t, err := rx.lending.enter(ctx, dom)
	if err != nil {
		return nil, err
	}
	defer t.leave()
	select {
	case t.slots <- struct{}{}:
		defer func() { <-t.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-b.link.Context().Done():
		return nil, transport.ErrClosed
	}
	b.region = t.region
	if landing.Revoked(b.region.mem) {
		return nil, transport.ErrRevoked
	}
	if !b.moderate(t) {
		return nil, fmt.Errorf("%w: %d MiB, which is all that a user may", transport.ErrLoanBudget, t.lending.size.Lent>>20)
	}
	if b.pair, err = t.acquire(ctx, b.link); err != nil {
		return nil, errors.Join(ctx.Err(), err)
	}
	defer t.putBack(b.pair)
	if err := b.interruptibly(ctx); err != nil {
		return nil, err
	}
	b.learn(t)
	return b.loan, nil
}

// moderate asks for no more than there is room for, going by what the latest
// payloads came in. It reports false if there is none.
func (b *borrowing) moderate(t *tenancy) bool {
	left := t.region.left() / pageSize
	t.lending.mu.Lock()
	defer t.lending.mu.Unlock()
	room := int64(b.limit) * t.segment
	b.n = min(b.n, lendMost, max(left*t.fragment, 1), max(room-room/8, 1))
	return left > 0
}

// learn notes what the payload came in.
func (b *borrowing) learn(t *tenancy) {
	if b.n < 16*pageSize {
		return
	}
	t.lending.mu.Lock()
	defer t.lending.mu.Unlock()
	t.fragment = b.n / b.fragments
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
	var pages int64
	for _, f := range b.pair.kept {
		b.back.add(f.token)
		pages += f.pages()
	}
	b.pair.giveBack(&b.back)
	b.region.back(pages)
}

// assemble makes a loan of what was kept, from the beginning on, and gives the
// rest back.
func (b *borrowing) assemble(sum checksum) {
	p := b.pair
	b.loan = &loan{
		pair: p, region: b.region,
		segments: make([]transport.Span, 0, min(b.limit, len(p.kept))),
		kept:     make([]fragment, 0, len(p.kept)),
	}
	var rest int64
	full := false
	for _, c := range p.pieces {
		for _, f := range p.kept[c.from:c.until] {
			if full = full || !b.loan.add(f, b.limit); full {
				b.back.add(f.token)
				rest += f.pages()
			}
		}
		full = full || c.cut
	}
	p.kept = p.kept[:0]
	p.giveBack(&b.back)
	b.region.back(rest)
	p.hold()
	b.loan.res = transport.Result{Path: transport.PathDevmemTCP, Why: p.link.Session.Why}
	if len(p.pieces) == 1 && b.loan.covered == b.n {
		b.loan.res.CRC, b.loan.res.HasCRC = sum.crc, sum.known
	}
}

func first(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// checksum is that of the latest piece, if it is known.
type checksum struct {
	crc   uint32
	known bool
}

// exchange asks, receives, and checks. An error that leaves the streams of the
// pair in an unknown place ends it.
func (b *borrowing) exchange() (sum checksum, err error) {
	p := b.pair
	if err := p.ask(b.file, b.off, b.n); err != nil {
		return sum, b.lost(lanes.Lost(err))
	}
	for range p.pieces {
		h, c, herr := p.header()
		if herr != nil {
			return sum, b.lost(lanes.Lost(herr))
		}
		p.expect()
		if h.Status != status.OK {
			err = first(err, fmt.Errorf("target: %w", h.Status.Err()))
			continue
		}
		if sum, herr = b.piece(h, c); herr != nil {
			return sum, herr
		}
	}
	if b.hosts {
		p.link.suspect(p.tenancy.lending.rx)
	}
	switch {
	case err != nil:
		return sum, err
	case b.hosts && p.link.Session.RequireDirect:
		return sum, b.lost(errNotSteered)
	case b.hosts:
		return sum, b.lost(fmt.Errorf("%w: %w", transport.ErrNoLoan, errNotSteered))
	case p.pieces[0].from == p.pieces[0].until:
		return sum, fmt.Errorf("%w: others were faster", transport.ErrLoanBudget)
	}
	return sum, nil
}

// piece receives what h announces.
func (b *borrowing) piece(h frame.Reply, c *piece) (sum checksum, err error) {
	if err := h.Expect(c.n, b.link.Session.Checksums); err != nil {
		return sum, b.lost(err)
	}
	crc, err := b.receive(c)
	if err != nil {
		return sum, b.lost(lanes.Lost(err))
	}
	c.until = len(b.pair.kept)
	sum = checksum{h.CRC, h.Checksum && b.readable()}
	if sum.known && !b.hosts && crc != h.CRC {
		return sum, b.lost(fmt.Errorf("%w: crc32c %#08x arrived, %#08x was sent", transport.ErrChecksum, crc, h.CRC))
	}
	return sum, nil
}

// lost ends the pair because of err, and returns that, unless something else had
// ended it.
func (b *borrowing) lost(err error) error {
	mine := lanes.Lost(err)
	if first := b.pair.end(mine); first != mine {
		return first
	}
	return err
}

func (b *borrowing) readable() bool { return b.region.mem.Bytes() != nil }

// visible waits until the device sees what the NIC wrote.
func (b *borrowing) visible() error {
	done := make(chan error, 1)
	b.region.mem.Visible(func(err error) { done <- err })
	return <-done
}

// receive takes all of a piece's payload.
func (b *borrowing) receive(c *piece) (crc uint32, err error) {
	p := b.pair
	for got := int64(0); got < c.n; {
		if err := p.data.Await(int(min(c.n-got, int64(len(p.scratch.B))))); err != nil {
			return 0, err
		}
		n, controls, err := p.data.Receive(p.scratch.B[:c.n-got], p.control)
		p.link.recvmsgs.Add(1)
		switch {
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.ErrUnexpectedEOF
		}
		p.expect()
		if crc, err = b.add(c, crc, n, p.control[:controls]); err != nil {
			return 0, err
		}
		p.giveBack(&b.back)
		got += int64(n)
	}
	return crc, nil
}

// add takes n bytes of a piece that a recvmsg brought, and adds them to its crc.
func (b *borrowing) add(c *piece, crc uint32, n int, controls []byte) (uint32, error) {
	if len(controls) == 0 {
		b.hosts = true
		b.link.hostBytes.Add(int64(n))
		return crc, nil
	}
	rest, linear, before := n, 0, b.fragments
	for rest > 0 || len(controls) > 0 {
		m, next, err := parseControl(controls)
		if err == nil {
			crc, err = b.take(c, crc, m, rest)
		}
		if err != nil {
			return crc, fmt.Errorf("%w (%d of %d bytes received)", err, n-rest, n)
		}
		if rest, controls = rest-int(m.size), next; m.linear {
			linear += int(m.size)
		}
	}
	b.link.linearBytes.Add(int64(linear))
	b.link.deviceBytes.Add(int64(n - linear))
	b.link.fragments.Add(b.fragments - before)
	return crc, nil
}

// take keeps what m says, or has it given back.
func (b *borrowing) take(c *piece, crc uint32, m control, rest int) (uint32, error) {
	p := b.pair
	if err := m.check(p.tenancy.binding.ID(), b.region.mem.Size()); err != nil || int64(m.size) > int64(rest) {
		return crc, errors.Join(errControl, err)
	}
	if m.linear {
		b.hosts = true
		return crc, nil
	}
	b.fragments++
	b.link.owner.lent.Add(1)
	if b.link.Session.Checksums && b.readable() {
		crc = crc32.Update(crc, castagnoli, b.region.mem.Bytes()[m.off:m.off+uint64(m.size)])
	}
	f := fragment{int64(m.off), int64(m.size), m.token}
	if c.cut = c.cut || b.hosts || !b.region.take(f.pages()); c.cut {
		b.back.add(m.token)
	} else {
		p.kept = append(p.kept, f)
	}
	return crc, nil
}
