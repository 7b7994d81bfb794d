package loans

import (
	"cmp"
	"fmt"

	"hbmfs/transport"
	"hbmfs/transport/devmemtcp/internal/receive"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/lanes"
	"hbmfs/transport/internal/status"
)

// checksum is that of the latest piece, if it is known.
type checksum struct {
	crc   uint32
	known bool
}

// exchange asks, receives, and checks. An error that leaves the streams of the
// pair in an unknown place ends it.
func (b *borrowing) exchange() (sum checksum, err error) {
	p := b.pair
	if err := p.ask(b.File, b.Off, b.Len); err != nil {
		return sum, b.lost(lanes.Lost(err))
	}
	for range p.pieces {
		h, c, herr := p.header()
		if herr != nil {
			return sum, b.lost(lanes.Lost(herr))
		}
		p.expect()
		if h.Status != status.OK {
			err = cmp.Or(err, fmt.Errorf("target: %w", h.Status.Err()))
			continue
		}
		if sum, herr = b.piece(h, c); herr != nil {
			return sum, herr
		}
	}
	if b.hosts {
		b.link.Suspect()
	}
	switch {
	case err != nil:
		return sum, err
	case b.hosts && p.Session.RequireDirect:
		return sum, b.lost(receive.ErrNotSteered)
	case b.hosts:
		return sum, b.lost(fmt.Errorf("%w: %w", transport.ErrNoLoan, receive.ErrNotSteered))
	case p.pieces[0].from == p.pieces[0].until:
		return sum, fmt.Errorf("%w: others were faster", transport.ErrLoanBudget)
	}
	return sum, nil
}

// piece receives what h announces.
func (b *borrowing) piece(h frame.Reply, c *piece) (sum checksum, err error) {
	p := b.pair
	if err := h.Expect(c.n, p.Session.Checksums); err != nil {
		return sum, b.lost(err)
	}
	crc, err := b.receive(c)
	if err != nil {
		return sum, b.lost(lanes.Lost(err))
	}
	c.until = len(p.kept)
	if !b.hosts {
		err = p.Verify(h, crc)
	}
	if err != nil {
		return sum, b.lost(err)
	}
	return checksum{h.CRC, p.Checked(h)}, nil
}

// lost ends the pair because of err, and returns that, unless something else had
// ended it.
func (b *borrowing) lost(err error) error {
	mine := lanes.Lost(err)
	b.pair.kill(mine)
	if first := b.pair.broken(); first != mine {
		return first
	}
	return err
}

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
		if err := p.Await(c.n - got); err != nil {
			return 0, err
		}
		parts, n, err := p.Receive(c.n-got, p.received)
		if err != nil {
			b.back.AddParts(parts)
			return 0, err
		}
		p.expect()
		crc = p.Checksum(crc, parts)
		for _, part := range parts {
			b.keep(c, part)
		}
		p.giveBack(&b.back)
		got += int64(n)
	}
	return crc, nil
}

// keep keeps a part of a piece, or has it given back.
func (b *borrowing) keep(c *piece, f receive.Part) {
	if f.Host {
		b.hosts = true
		return
	}
	b.came++
	if c.cut = c.cut || b.hosts || !b.region.take(pages(f)); c.cut {
		b.back.Add(f.Token)
	} else {
		b.pair.kept = append(b.pair.kept, f)
	}
}
