package devmemtcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/internal/lanes"
)

const (
	// lendControls is for how many fragments one recvmsg of a loan has room.
	lendControls = 512
	// lendPiece is the most that one request of a loan asks for, in bytes. All of a
	// loan's are sent at once, so that the target reads while it sends.
	lendPiece = 512 << 10
	// lendMost is the most that a loan asks for.
	lendMost = depth * lendPiece
)

// piece is what one request of a loan asks for.
type piece struct {
	n           int64
	from, until int  // of the pair's fragments that are kept
	here        bool // its reply has come
	cut         bool // not all of it was kept
}

// fragment is a part of the region that a token is held for.
type fragment struct {
	off, n int64
	token  uint32
}

// lendPair is a pair of connections whose payload is lent. One borrower at a
// time has it, asks, and waits. Its data socket is closed when it is of no more
// use and all of its tokens are back.
type lendPair struct {
	link    *link
	tenancy *tenancy
	head    net.Conn
	data    socket
	rule    nicRule

	// The borrower's:
	id      uint64 // of the next request
	scratch *landing.Buffer
	control []byte
	out     []byte
	pieces  []piece
	kept    []fragment
	hurry   *time.Timer
	stall   *time.Timer

	mu   sync.Mutex // guards all below
	dead error      // why it is of no more use
	held int        // loans, and one until it is retired
}

// openPair connects a pair to the tenancy's queue.
func (t *tenancy) openPair(ctx context.Context, l *link) (*lendPair, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.Context(), cancel)()
	d := dialled{rx: t.lending.rx, queue: t.queue}
	s, err := l.assemble(ctx, &d)
	if err != nil {
		if !errors.Is(err, transport.ErrSession) && !errors.Is(err, transport.ErrProtocol) {
			err = lanes.Lost(err)
		}
		return nil, err
	}
	p := &lendPair{
		link: l, tenancy: t, head: d.head, data: s, rule: d.rule, held: 1,
		scratch: landing.GetBuffer(scratchSize),
		control: make([]byte, lendControls*controlSize),
	}
	p.hurry = time.AfterFunc(time.Hour, p.late)
	p.stall = time.AfterFunc(time.Hour, p.stalled)
	p.rest()
	return p, t.adopt(p)
}

// adopt puts a new pair on the tenancy's list, unless the link has ended.
func (t *tenancy) adopt(p *lendPair) error {
	t.lending.mu.Lock()
	t.pairs[p] = struct{}{}
	t.lending.mu.Unlock()
	if err := p.link.Ended(); err != nil {
		p.kill(err)
		p.retire()
		return err
	}
	return nil
}

// acquire returns a pair for one borrower, who has a slot of the tenancy.
func (t *tenancy) acquire(ctx context.Context, l *link) (*lendPair, error) {
	for {
		p := t.pop(l)
		if p == nil {
			return t.openPair(ctx, l)
		}
		if p.broken() == nil {
			return p, nil
		}
		p.retire()
	}
}

// pop takes the pair of a link that was used last of those that nobody uses.
func (t *tenancy) pop(l *link) *lendPair {
	t.lending.mu.Lock()
	defer t.lending.mu.Unlock()
	for i, p := range slices.Backward(t.idle) {
		if p.link == l {
			t.idle = slices.Delete(t.idle, i, i+1)
			return p
		}
	}
	return nil
}

// putBack ends a borrower's use of a pair.
func (t *tenancy) putBack(p *lendPair) {
	t.lending.mu.Lock()
	dead := p.broken()
	if dead == nil {
		t.idle = append(t.idle, p)
	}
	t.lending.mu.Unlock()
	if dead == nil {
		return
	}
	p.retire()
	if errors.Is(dead, transport.ErrConnLost) { // the others go by the same network
		for _, p := range t.takeIdle(p.link) {
			p.kill(dead)
			p.retire()
		}
	}
}

// takeIdle takes the pairs of a link off the list that nobody uses.
func (t *tenancy) takeIdle(l *link) (idle []*lendPair) {
	t.lending.mu.Lock()
	defer t.lending.mu.Unlock()
	t.idle = slices.DeleteFunc(t.idle, func(p *lendPair) bool {
		if l == nil || p.link == l {
			idle = append(idle, p)
			return true
		}
		return false
	})
	return idle
}

// takePairs is takeIdle; the link's pairs at work are ended.
func (t *tenancy) takePairs(l *link) []*lendPair {
	t.lending.mu.Lock()
	var busy []*lendPair
	for p := range t.pairs {
		if (l == nil || p.link == l) && !slices.Contains(t.idle, p) {
			busy = append(busy, p)
		}
	}
	t.lending.mu.Unlock()
	for _, p := range busy {
		p.kill(transport.ErrClosed)
	}
	return t.takeIdle(l)
}

// kill ends both streams because of err, from any goroutine.
func (p *lendPair) kill(err error) { _ = p.end(err) }

// end is kill, and returns what ended them first.
func (p *lendPair) end(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead == nil {
		p.dead = err
		p.head.Close()
		p.data.Shutdown()
	}
	return p.dead
}

// broken is why the pair is of no more use.
func (p *lendPair) broken() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

// expect has the pair be ended unless it is called again within the session's
// time-out, or rest is. After a quarter of that, any byte will do, for slow
// networks: so a peer that falls silent is noticed by as much later.
func (p *lendPair) expect() {
	p.hurry.Reset(p.link.Session.Timeout / 4)
	p.stall.Reset(p.link.Session.Timeout)
}

func (p *lendPair) rest() {
	p.hurry.Stop()
	p.stall.Stop()
}

func (p *lendPair) late() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead == nil { // and so the socket is open
		p.data.Hurry()
	}
}

func (p *lendPair) stalled() {
	p.kill(fmt.Errorf("%w: %w: a loan without an answer, time-out %v", transport.ErrConnLost, transport.ErrStalled, p.link.Session.Timeout))
}

// retire ends a pair that was killed and that no borrower has.
func (p *lendPair) retire() {
	t := p.tenancy
	t.lending.mu.Lock()
	delete(t.pairs, p)
	t.lending.mu.Unlock()
	p.rest()
	if p.rule != nil {
		_ = p.rule.Close() // the NIC puts back what is left when it is closed
	}
	p.drain()
	p.scratch.Put()
	p.letGo()
}

// drain gives back what came and was not received: while loans keep the socket
// open, it would take memory from those to come.
func (p *lendPair) drain() {
	for {
		n, controls, err := p.data.Receive(p.scratch.B, p.control)
		if err != nil || n == 0 {
			return
		}
		var back tokens
		for rest := p.control[:controls]; len(rest) > 0; {
			c, next, err := parseControl(rest)
			if err != nil {
				return
			}
			if !c.linear {
				back.add(c.token)
			}
			rest = next
		}
		if _, err := back.giveBack(p.data); err != nil {
			return
		}
	}
}

// hold counts a loan.
func (p *lendPair) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held++
}

// letGo undoes a hold, or the pair's own. The last one closes the data socket.
func (p *lendPair) letGo() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held--; p.held == 0 {
		_ = p.data.Close() // nothing of it is wanted
	}
}

// giveBack returns tokens to the kernel. That it knew fewer ends the pair.
func (p *lendPair) giveBack(t *tokens) {
	if t.count == 0 {
		return
	}
	calls, err := t.giveBack(p.data)
	p.link.tokenCalls.Add(int64(calls))
	p.link.owner.lent.Add(int64(-t.count))
	t.reset()
	if err != nil {
		p.kill(fmt.Errorf("%w: %w", transport.ErrConnLost, err))
	}
}

// ask sends requests for n bytes.
func (p *lendPair) ask(file transport.FileRef, off, n int64) error {
	switch unread, err := p.data.Unread(); {
	case err != nil:
		return err
	case unread > 0:
		return errSurplus
	}
	p.id += uint64(len(p.pieces))
	p.out, p.pieces, p.kept = p.out[:0], p.pieces[:0], p.kept[:0]
	for at := int64(0); at < n; at += lendPiece {
		c := piece{n: min(n-at, lendPiece)}
		id := p.id + uint64(len(p.pieces))
		p.out = frame.Request{ID: id, File: file, Off: off + at, Length: uint32(c.n), Checksum: p.link.Session.Checksums}.Append(p.out)
		p.pieces = append(p.pieces, c)
	}
	_, err := p.head.Write(p.out)
	return err
}

// header returns the next reply's header, and what it is of.
func (p *lendPair) header() (h frame.Reply, c *piece, err error) {
	in := p.scratch.B[:frame.ReplySize]
	if _, err := io.ReadFull(p.head, in); err != nil {
		return h, nil, err
	}
	if h, err = frame.ParseReply(in); err != nil {
		return h, nil, err
	}
	i := h.ID - p.id
	if i >= uint64(len(p.pieces)) || p.pieces[i].here {
		return h, nil, fmt.Errorf("%w: reply to a request %#x that is not under way", transport.ErrProtocol, h.ID)
	}
	c = &p.pieces[i]
	c.here, c.from, c.until = true, len(p.kept), len(p.kept)
	return h, c, nil
}
