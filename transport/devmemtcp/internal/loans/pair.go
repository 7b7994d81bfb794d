package loans

import (
	"fmt"
	"sync"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/devmemtcp/internal/receive"
	"hbmfs/transport/internal/frame"
)

const (
	// messages is for how many fragments one receive of a loan has room.
	messages = 512
	// pieceSize is the most that one request of a loan asks for, in bytes. All of a
	// loan's are sent at once, so that the target reads while it sends.
	pieceSize = 512 << 10
	// maxLoan is the most that a loan asks for, in bytes.
	maxLoan = 32 * pieceSize
)

// piece is what one request of a loan asks for.
type piece struct {
	n           int64
	from, until int  // of the pair's fragments that are kept
	here        bool // its reply has come
	cut         bool // not all of it was kept
}

// pair is a pair of connections whose payload is lent. One borrower at a time has
// it, asks, and waits. Its data socket is closed when it is of no more use and all
// of its tokens are back.
type pair struct {
	*receive.Pair
	link    Link
	tenancy *tenancy
	busy    bool // somebody has it; guarded by Lender.mu

	// The borrower's:
	id       uint64 // of the next request
	out      []byte
	pieces   []piece
	received []receive.Part
	kept     []receive.Part
	hurry    *time.Timer
	stall    *time.Timer

	mu   sync.Mutex // guards all below
	dead error      // why it is of no more use
	held int        // loans, and one until it is retired
}

// newPair is one that somebody has.
func newPair(t *tenancy, link Link, c *receive.Pair) *pair {
	p := &pair{Pair: c, link: link, tenancy: t, busy: true, held: 1, received: make([]receive.Part, 0, messages)}
	p.hurry = time.AfterFunc(time.Hour, p.late)
	p.stall = time.AfterFunc(time.Hour, p.stalled)
	p.rest()
	return p
}

// kill ends both streams because of err, unless they have ended, from any
// goroutine.
func (p *pair) kill(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead == nil {
		p.dead = err
		p.Shutdown()
	}
}

// broken is why the pair is of no more use.
func (p *pair) broken() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

// expect has the pair be ended unless it is called again within the session's
// time-out, or rest is. After a quarter of that, any byte will do, for slow
// networks: so a peer that falls silent is noticed by as much later.
func (p *pair) expect() {
	p.hurry.Reset(p.Session.Timeout / 4)
	p.stall.Reset(p.Session.Timeout)
}

func (p *pair) rest() {
	p.hurry.Stop()
	p.stall.Stop()
}

func (p *pair) late() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead == nil { // and so the socket is open
		p.Data.Hurry()
	}
}

func (p *pair) stalled() {
	p.kill(fmt.Errorf("%w: %w: a loan without an answer, time-out %v", transport.ErrConnLost, transport.ErrStalled, p.Session.Timeout))
}

// retire ends a pair that was killed and that no borrower has.
func (p *pair) retire() {
	l := p.tenancy.lender
	l.mu.Lock()
	p.tenancy.remove(p)
	l.mu.Unlock()
	p.rest()
	p.Retire()
	p.letGo()
}

// hold counts a loan.
func (p *pair) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held++
}

// letGo undoes a hold, or the pair's own. The last one closes the data socket.
func (p *pair) letGo() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held--; p.held == 0 {
		p.Close()
	}
}

// giveBack returns tokens to the kernel. That it knew fewer ends the pair.
func (p *pair) giveBack(t *receive.Tokens) {
	if err := p.GiveBack(t); err != nil {
		p.kill(fmt.Errorf("%w: %w", transport.ErrConnLost, err))
	}
}

// ask sends requests for n bytes.
func (p *pair) ask(file transport.FileRef, off, n int64) error {
	p.id += uint64(len(p.pieces))
	p.out, p.pieces, p.kept = p.out[:0], p.pieces[:0], p.kept[:0]
	for at := int64(0); at < n; at += pieceSize {
		c := piece{n: min(n-at, pieceSize)}
		id := p.id + uint64(len(p.pieces))
		p.out = frame.Request{ID: id, File: file, Off: off + at, Length: uint32(c.n), Checksum: p.Session.Checksums}.Append(p.out)
		p.pieces = append(p.pieces, c)
	}
	return p.Send(p.out, true)
}

// header returns the next reply's header, and what it is of.
func (p *pair) header() (h frame.Reply, c *piece, err error) {
	if h, err = p.Reply(); err != nil {
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
