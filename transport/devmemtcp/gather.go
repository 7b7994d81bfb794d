package devmemtcp

import (
	"fmt"
	"hash/crc32"
	"sync/atomic"

	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
)

// What one pair may have on its way from the pool to where it belongs: when all
// gathers are under way, the reader waits, and then TCP does.
const (
	gathersPerConn     = 6
	fragmentsPerGather = 256
)

// gather is fragments that lie in the pool one after the other in the stream,
// on their way to a destination; or bytes that came to host memory instead.
type gather struct {
	conn          *conn
	done, visible func(error)

	left atomic.Int32 // copies under way, and one while they are started

	slot  *slot
	at    int64 // in the slot's payload
	n     int64 // bytes of it
	spans []transport.Span
	back  tokens
	parts []part
	hosts bool            // some of it did not land in device memory
	host  *landing.Buffer // where that is, while it is copied
}

// part is a run of bytes of one kind.
type part struct {
	at          int64 // in the slot's payload
	host        bool
	from, until int // in the host buffer, or of spans
}

func (g *gather) init(c *conn) {
	g.conn = c
	g.done, g.visible = g.onDone, g.onVisible
	g.spans = make([]transport.Span, 0, fragmentsPerGather)
	g.back.ranges = make([]tokenRange, 0, fragmentsPerGather)
	g.parts = make([]part, 0, fragmentsPerGather)
}

func (g *gather) begin(s *slot) { g.slot, g.at, g.n, g.hosts = s, s.at, 0, false }

// room is how many control messages more it takes.
func (g *gather) room() int { return fragmentsPerGather - max(len(g.parts), len(g.spans)) }

// add takes n bytes that a recvmsg brought, of which controls say where they
// are. With an error the gather holds only some of them, but the tokens that
// could be read.
func (g *gather) add(n int, controls []byte) error {
	if len(controls) == 0 {
		g.linear(n, 0)
		g.conn.link.hostBytes.Add(int64(n))
		return nil
	}
	linear := 0
	for rest := n; rest > 0 || len(controls) > 0; {
		c, next, err := parseControl(controls)
		if err == nil {
			err = g.take(c, rest, linear)
		}
		if err != nil {
			return fmt.Errorf("%w (%d of %d bytes received)", err, n-rest, n)
		}
		if rest, controls = rest-int(c.size), next; c.linear {
			linear += int(c.size)
		}
	}
	g.conn.link.linearBytes.Add(int64(linear))
	return nil
}

// take adds what c says, of the rest of the bytes that were received.
func (g *gather) take(c control, rest, linear int) error {
	if !c.linear {
		g.back.add(c.token)
	}
	rx := g.conn.rx
	if err := c.check(rx.binding.ID(), rx.pool.Size()); err != nil {
		return err
	}
	if int64(c.size) > int64(rest) {
		return fmt.Errorf("%w: a fragment of %d bytes, where %d are left", errControl, c.size, rest)
	}
	if c.linear {
		g.linear(int(c.size), linear)
	} else {
		g.fragment(transport.Span{Mem: rx.pool, Off: int64(c.off), Len: int64(c.size)})
	}
	return nil
}

// linear adds n bytes that are in the host buffer.
func (g *gather) linear(n, from int) {
	g.parts = append(g.parts, part{at: g.at + g.n, host: true, from: from, until: from + n})
	g.n += int64(n)
	g.hosts = true
}

func (g *gather) fragment(s transport.Span) {
	i := len(g.spans)
	g.spans = append(g.spans, s)
	if last := len(g.parts) - 1; last >= 0 && !g.parts[last].host {
		g.parts[last].until++
	} else {
		g.parts = append(g.parts, part{at: g.at + g.n, from: i, until: i + 1})
	}
	g.n += s.Len
}

// count adds what it holds to the link's counters.
func (g *gather) count() {
	bytes := int64(0)
	for i := range g.spans {
		bytes += g.spans[i].Len
	}
	g.conn.link.deviceBytes.Add(bytes)
	g.conn.link.fragments.Add(int64(len(g.spans)))
	g.conn.link.tokens.Add(int64(g.back.count))
}

// checksum adds what it holds to crc, which is of what came before it.
func (g *gather) checksum(crc uint32, host []byte) uint32 {
	pool := g.conn.rx.pool.Bytes()
	for _, p := range g.parts {
		if p.host {
			crc = crc32.Update(crc, castagnoli, host[p.from:p.until])
			continue
		}
		for _, s := range g.spans[p.from:p.until] {
			crc = crc32.Update(crc, castagnoli, pool[s.Off:s.Off+s.Len])
		}
	}
	return crc
}

// start has everything copied to its place, once the device sees what the NIC
// wrote. When that is done, the gather is idle again.
func (g *gather) start() { g.conn.rx.pool.Visible(g.visible) }

func (g *gather) onVisible(err error) {
	g.left.Store(1)
	for i := 0; i < len(g.parts) && err == nil; i++ {
		g.left.Add(1)
		g.copy(&g.parts[i])
	}
	g.done(err)
}

func (g *gather) copy(p *part) {
	dst := g.slot.req.Dst
	if p.host {
		dst.Mem.CopyIn(dst.Off+p.at, g.host.B[p.from:p.until], g.done)
	} else {
		dst.Mem.Gather(dst.Off+p.at, g.spans[p.from:p.until], g.done)
	}
}

func (g *gather) onDone(err error) {
	if err != nil {
		g.slot.fail(err)
	}
	if g.left.Add(-1) == 0 {
		g.end()
	}
}

// end gives the tokens back, and the gather, and lets go of the slot.
func (g *gather) end() {
	c, s := g.conn, g.slot
	c.giveBack(&g.back)
	g.slot, g.spans, g.parts = nil, g.spans[:0], g.parts[:0]
	if g.host != nil {
		g.host.Put()
		g.host = nil
	}
	c.idle <- g // there is room for all
	s.release()
}

// giveBack returns tokens to the kernel. That it knew fewer ends the pair: what
// was thought to be safe from the NIC was not.
func (c *conn) giveBack(t *tokens) {
	if t.count == 0 {
		return
	}
	calls, err := t.giveBack(c.data)
	c.link.tokenCalls.Add(int64(calls))
	c.link.tokens.Add(int64(-t.count))
	t.reset()
	if err != nil {
		c.Kill(fmt.Errorf("%w: %w", transport.ErrConnLost, err))
	}
}
