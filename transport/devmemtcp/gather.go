package devmemtcp

import (
	"fmt"
	"sync/atomic"

	"hbmfs/transport"
	"hbmfs/transport/devmemtcp/internal/receive"
	"hbmfs/transport/internal/landing"
)

// What one pair may have on its way from the pool to where it belongs: when all
// gathers are under way, the reader waits, and then TCP does.
const (
	gathersPerConn     = 6
	fragmentsPerGather = 256
)

// gather is parts of a payload, one after the other in the stream, on their way
// to a destination.
type gather struct {
	conn          *conn
	done, visible func(error)

	left atomic.Int32 // copies under way, and one while they are started

	slot  *slot
	at    int64 // in the slot's payload
	n     int64 // bytes of it
	parts []receive.Part
	spans []transport.Span // of parts, where they are copied
	back  receive.Tokens
	hosts bool            // some of it did not land in device memory
	host  *landing.Buffer // where that is, while it is copied
}

func (g *gather) init(c *conn) {
	g.conn = c
	g.done, g.visible = g.onDone, g.onVisible
	g.parts = make([]receive.Part, 0, fragmentsPerGather)
	g.spans = make([]transport.Span, 0, fragmentsPerGather)
}

func (g *gather) begin(s *slot) { g.slot, g.at, g.n, g.hosts = s, s.at, 0, false }

// room is how many parts more it takes.
func (g *gather) room() int { return fragmentsPerGather - len(g.parts) }

// receive takes at most n bytes more. With an error the gather holds only some of
// what came.
func (g *gather) receive(n int64) error {
	before := len(g.parts)
	parts, received, err := g.conn.pair.Receive(n, g.parts)
	g.parts = parts
	for _, p := range parts[before:] {
		g.hosts = g.hosts || p.Host
	}
	g.back.AddParts(parts[before:])
	g.n += int64(received)
	g.conn.Progressed(received)
	return err
}

// start has everything copied to its place, once the device sees what the NIC
// wrote. When that is done, the gather is idle again.
func (g *gather) start() { g.conn.rx.pool.Visible(g.visible) }

func (g *gather) onVisible(err error) {
	g.left.Store(1)
	at := g.at
	for rest := g.parts; len(rest) > 0 && err == nil; {
		g.left.Add(1)
		n, length := g.copy(rest, at)
		rest, at = rest[n:], at+length
	}
	g.done(err)
}

// copy starts the copy of as many parts as one takes, and returns their number and
// their bytes'.
func (g *gather) copy(parts []receive.Part, at int64) (n int, length int64) {
	r := &g.slot.req
	if p := parts[0]; p.Host {
		b := g.host.B[p.Off : p.Off+p.Len]
		if r.Plain() {
			copy(r.Host[at:], b)
			g.done(nil)
		} else {
			r.Dst.Mem.CopyIn(r.Dst.Off+at, b, g.done)
		}
		return 1, p.Len
	}
	from := len(g.spans)
	for ; n < len(parts) && !parts[n].Host; n++ {
		g.spans = append(g.spans, transport.Span{Mem: g.conn.rx.pool, Off: parts[n].Off, Len: parts[n].Len})
		length += parts[n].Len
	}
	if r.Plain() {
		g.done(transport.GatherCPU(r.Host, at, g.spans[from:]))
	} else {
		r.Dst.Mem.Gather(r.Dst.Off+at, g.spans[from:], g.done)
	}
	return n, length
}

func (g *gather) onDone(err error) {
	if err != nil {
		g.slot.fail(err)
	}
	if g.left.Add(-1) == 0 {
		g.end()
	}
}

// end gives the tokens back, and the gather, and lets go of the slot. That the
// kernel knew fewer tokens ends the pair.
func (g *gather) end() {
	c, s := g.conn, g.slot
	if err := c.pair.GiveBack(&g.back); err != nil {
		c.Kill(fmt.Errorf("%w: %w", transport.ErrConnLost, err))
	}
	g.slot, g.spans, g.parts = nil, g.spans[:0], g.parts[:0]
	if g.host != nil {
		g.host.Release()
		g.host = nil
	}
	c.idle <- g // there is room for all
	s.release()
}
