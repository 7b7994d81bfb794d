package receive

import (
	"fmt"
	"hash/crc32"
	"io"
	"sync/atomic"

	"hbmfs/transport"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Part is a run of payload that lies in one place.
type Part struct {
	Off, Len int64  // in the queue's memory, or in the pair's host memory
	Token    uint32 // keeps the NIC off it
	Host     bool   // it did not land in device memory, and has no token
}

// Counters are what [transport.DevmemStats] is made of.
type Counters struct {
	deviceBytes, hostBytes, linearBytes, fragments, recvmsgs, tokenCalls atomic.Int64
}

// Stats is what was counted, and the tokens that are held.
func (c *Counters) Stats(tokens int64) transport.DevmemStats {
	return transport.DevmemStats{
		DeviceBytes: c.deviceBytes.Load(),
		HostBytes:   c.hostBytes.Load(),
		LinearBytes: c.linearBytes.Load(),
		Fragments:   c.fragments.Load(),
		Recvmsgs:    c.recvmsgs.Load(),
		TokenCalls:  c.tokenCalls.Load(),
		Tokens:      tokens,
	}
}

// Await returns once n bytes of payload have come, or all that there is room for,
// or any after Hurry.
func (p *Pair) Await(n int64) error { return p.Data.Await(int(min(n, ScratchSize))) }

// Receive waits for payload, takes at most n bytes of it, and appends where they
// lie, in order, to parts, whose capacity is room for all of them. With an error
// some are missing: a token that comes with nonsense may be another fragment's.
func (p *Pair) Receive(n int64, parts []Part) (_ []Part, received int, err error) {
	room := min(cap(parts)-len(parts), p.Messages)
	received, controls, err := p.Data.Receive(p.scratch.B[:min(n, int64(len(p.scratch.B)))], p.control[:room*controlSize])
	p.Counters.recvmsgs.Add(1)
	switch {
	case err != nil:
		return parts, 0, err
	case received == 0:
		return parts, 0, io.ErrUnexpectedEOF
	}
	parts, err = p.place(received, p.control[:controls], parts)
	return parts, received, err
}

// place appends what controls say of n bytes that were received.
func (p *Pair) place(n int, controls []byte, parts []Part) ([]Part, error) {
	if len(controls) == 0 {
		p.Counters.hostBytes.Add(int64(n))
		return append(parts, Part{Len: int64(n), Host: true}), nil
	}
	linear, device := 0, 0
	defer func() {
		p.Counters.linearBytes.Add(int64(linear))
		p.Counters.deviceBytes.Add(int64(device))
	}()
	for rest := n; rest > 0 || len(controls) > 0; {
		c, next, err := parseControl(controls)
		if err == nil {
			err = c.check(p.Queue.Binding.ID(), p.Queue.Memory.Size(), rest)
		}
		if err != nil {
			return parts, fmt.Errorf("%w (%d of %d bytes received)", err, n-rest, n)
		}
		part := Part{Off: int64(c.off), Len: int64(c.size), Token: c.token}
		if c.linear {
			part = Part{Off: int64(linear), Len: int64(c.size), Host: true}
			linear += int(c.size)
		} else {
			p.Held.Add(1)
			p.Counters.fragments.Add(1)
			device += int(c.size)
		}
		parts = append(parts, part)
		rest, controls = rest-int(c.size), next
	}
	return parts, nil
}

// Checksum adds parts of the latest Receive to crc, which is of what came before,
// if the session wants it and the CPU can read them.
func (p *Pair) Checksum(crc uint32, parts []Part) uint32 {
	memory := p.Queue.Memory.Bytes()
	if !p.Session.Checksums || memory == nil {
		return crc
	}
	for _, part := range parts {
		from := memory
		if part.Host {
			from = p.scratch.B
		}
		crc = crc32.Update(crc, castagnoli, from[part.Off:part.Off+part.Len])
	}
	return crc
}

// GiveBack has the NIC have all of t again, and empties t. An error is the pair's
// end: what was thought to be safe from the NIC was not.
func (p *Pair) GiveBack(t *Tokens) error {
	if t.count == 0 {
		return nil
	}
	calls, err := t.giveBack(p.Data)
	p.Counters.tokenCalls.Add(int64(calls))
	p.Held.Add(int64(-t.count))
	t.reset()
	return err
}
