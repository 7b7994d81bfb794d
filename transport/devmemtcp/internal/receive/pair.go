package receive

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/landing"
)

// ScratchSize is the most that one [Pair.Receive] asks for, in bytes. It is touched
// only by payload that did not land in device memory.
const ScratchSize = 1 << 20

// headAhead is how many bytes of reply headers and answers one read may bring.
const headAhead = 4 << 10

var (
	// errSurplus: the stream of payloads is not where the headers say.
	errSurplus = fmt.Errorf("%w: payload that was not announced", transport.ErrProtocol)
	// ErrNotSteered says what to look at.
	ErrNotSteered = fmt.Errorf("%w: payload came by another interface or queue than those taken, or was not split from its headers;"+
		" see whether the target is reached by the NIC, and its flow rules and tcp-data-split", transport.ErrNotDirect)
)

// Binding is device memory that the NIC fills by some of its queues.
type Binding interface {
	// ID is the kernel's name for it.
	ID() uint32
	Close() error
}

// Queue is where a pair's payload comes to.
type Queue struct {
	Number  int
	Memory  transport.Memory
	Binding Binding
}

// Config is what a pair is made of.
type Config struct {
	Session  transport.Session
	Queue    Queue
	Head     net.Conn
	Data     Socket
	Rule     io.Closer // has Data's packets come to the queue; may be nil
	Messages int       // control messages that one Receive has room for
	Counters *Counters
	Held     *atomic.Int64 // counts tokens that were not given back
}

// Pair is a pair of connections to a target.
type Pair struct {
	Config
	in      []byte // of the head
	r, w    int    // what is unread in in
	scratch *landing.Buffer
	control []byte
}

// New returns the pair, which closes what cfg has.
func New(cfg Config) *Pair {
	return &Pair{
		Config:  cfg,
		in:      make([]byte, headAhead),
		scratch: landing.GetBuffer(ScratchSize),
		control: make([]byte, cfg.Messages*controlSize),
	}
}

// Send sends requests. With quiet, the peer owes nothing before them: then no
// payload may lie there.
func (p *Pair) Send(requests []byte, quiet bool) error {
	if quiet {
		switch n, err := p.Data.Unread(); {
		case err != nil:
			return err
		case n > 0:
			return errSurplus
		}
	}
	_, err := p.Head.Write(requests)
	return err
}

// Reply waits for the next reply's header.
func (p *Pair) Reply() (frame.Reply, error) {
	b, err := p.next(frame.ReplySize)
	if err != nil {
		return frame.Reply{}, err
	}
	return frame.ParseReply(b)
}

// Answer waits for the answer that h announced, which is good until the next Reply.
func (p *Pair) Answer(h frame.Reply) ([]byte, error) { return p.next(int(h.Length)) }

// next returns the next n bytes of the head.
func (p *Pair) next(n int) ([]byte, error) {
	for p.w-p.r < n {
		p.w = copy(p.in, p.in[p.r:p.w])
		p.r = 0
		m, err := p.Head.Read(p.in[p.w:])
		p.w += m
		if m == 0 && err != nil {
			return nil, err
		}
	}
	p.r += n
	return p.in[p.r-n : p.r], nil
}

// Readable reports whether the CPU can read what the NIC put into the memory.
func (p *Pair) Readable() bool { return p.Queue.Memory.Bytes() != nil }

// Checked reports whether the checksum that h has is compared with what came.
func (p *Pair) Checked(h frame.Reply) bool { return h.Checksum && p.Readable() }

// Verify returns an error wrapping [transport.ErrChecksum] if other bytes came, of
// which crc is, than were sent.
func (p *Pair) Verify(h frame.Reply, crc uint32) error {
	if p.Checked(h) && crc != h.CRC {
		return fmt.Errorf("%w: crc32c %#08x arrived, %#08x was sent", transport.ErrChecksum, crc, h.CRC)
	}
	return nil
}

// TakeScratch returns the host memory that parts of the latest Receive lie in, to
// be put back by the caller. The next Receive uses other memory.
func (p *Pair) TakeScratch() *landing.Buffer {
	b := p.scratch
	p.scratch = landing.GetBuffer(ScratchSize)
	return b
}

// Shutdown ends both streams: what waits returns. The data socket stays open: its
// end would let the NIC write to fragments that are in use.
func (p *Pair) Shutdown() {
	p.Head.Close()
	p.Data.Shutdown()
}

// Retire gives back all but the data socket, of a pair that was shut down and is
// received from no more: also what came and was not received, which as long as
// others' fragments keep the socket open would take memory from those to come.
func (p *Pair) Retire() {
	if p.Rule != nil {
		_ = p.Rule.Close() // the NIC puts back what is left when it is closed
	}
	parts := make([]Part, 0, p.Messages)
	for err := error(nil); err == nil; {
		var back Tokens
		parts, _, err = p.Receive(ScratchSize, parts[:0])
		back.AddParts(parts)
		err = errors.Join(err, p.GiveBack(&back))
	}
	p.scratch.Release()
}

// Close closes the data socket. The NIC may then write to all fragments whose
// tokens were not given back.
func (p *Pair) Close() {
	_ = p.Data.Close() // what it brought is where it belongs, or not wanted
}
