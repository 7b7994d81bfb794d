package rdma

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"
	"sync/atomic"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/status"
	"hbmfs/transport/rdma/internal/verbs"
)

// maxWorkers is how many reads of slow storage one connection may have under
// way.
const maxWorkers = 16

// recvBit tells completions of receives from those of sends.
const recvBit = 1 << 32

// serving is the server's side of one connection. Its goroutine answers what the
// source has in memory itself, and hands the rest to workers, so replies may
// overtake each other.
type serving struct {
	server  *Server
	id      *verbs.ID
	peer    string
	surplus bool         // one more than the server may have
	ends    atomic.Int32 // of two: it was undone, and its client was told
	parts   servingParts
	out     outbox
	share   share // guarded by the arena

	removed context.Context // ends when the identifier's device goes
	remove  context.CancelFunc

	mu   sync.Mutex // guards what follows
	cq   *verbs.CQ
	err  error         // why the connection ends
	quit chan struct{} // closed when err is set

	// The connection's goroutine's own:
	setUp    *time.Timer // ends the connection; nil once it is up
	alive    *time.Timer // asks whether the client is; nil until it is up
	port     port        // that it was asked for through
	refusal  rejectCode  // what the client is told; 0 where it was accepted
	released func()      // ends the wait for the device's removal; may be nil
	member   *member
	arrived  []request
	reposts  []verbs.Recv
	jobs     chan request
	workers  int
	unserved atomic.Int32 // of the jobs handed out
	wg       sync.WaitGroup
}

func newServing(s *Server, id *verbs.ID) *serving {
	c := &serving{
		server: s, id: id, peer: id.Peer().String(), quit: make(chan struct{}),
		arrived: make([]request, 0, depth+1),
		reposts: make([]verbs.Recv, 0, depth+1),
		jobs:    make(chan request, depth),
	}
	c.removed, c.remove = context.WithCancel(context.Background())
	return c
}

// run sets the connection up, serves it until it ends, and returns why it did.
func (c *serving) run(private []byte) error {
	c.setUp = time.AfterFunc(setUpTimeout, func() { c.fail(errSetUpTime) })
	defer c.setUp.Stop()
	c.port = newPort(c.id)
	err := c.open(private)
	if err == nil {
		err = c.serve()
	}
	return c.end(err)
}

// aliveEvery is how often an idle client is asked whether it is there: a host
// that lost its power says nothing.
const aliveEvery = 15 * time.Second

// ask has the queue pair fail if the client is gone.
func (c *serving) ask() {
	if c.ending() {
		return
	}
	c.out.probe()
	c.out.flush()
	c.alive.Reset(aliveEvery)
}

// fail ends the connection, from any goroutine. The first error counts.
func (c *serving) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	close(c.quit)
	if c.cq != nil {
		c.cq.Interrupt()
	}
}

func (c *serving) ending() bool {
	select {
	case <-c.quit:
		return true
	default:
		return false
	}
}

// end undoes the connection and returns the error that ended it. What is of the
// device goes at once, the rest when no read of the source is under way. The
// client may be told later.
func (c *serving) end(err error) error {
	c.fail(err)
	if c.alive != nil {
		c.alive.Stop()
	}
	if c.released != nil {
		c.released()
	}
	c.out.close()
	err = errors.Join(c.err, c.parts.close())
	c.out.drop()
	c.part()
	close(c.jobs)
	c.wg.Wait()
	if c.member != nil {
		c.server.registry.leave(c.member)
	}
	c.over()
	return err
}

// part has the client told that the connection ends, or is refused.
func (c *serving) part() {
	f := farewell{port: c.port, settle: caution(c.err), removed: c.removed.Done(), say: c.leave}
	if c.refusal != 0 {
		f.settle = 0 // it has just asked
	}
	c.server.parting.Add(1)
	parting.add(f)
}

func (c *serving) leave() {
	defer c.server.parting.Done()
	if c.refusal != 0 {
		_ = c.id.Reject(appendReject(nil, c.refusal))
	} else {
		_ = c.id.Disconnect() // fails if the client did first
	}
	_ = c.id.Close()
	c.over()
}

// over has the server forget the connection once both of its ends have come.
func (c *serving) over() {
	if c.ends.Add(1) == 2 {
		c.server.forget(c)
	}
}

// serve answers requests until the connection ends.
func (c *serving) serve() error {
	var wc [2 * depth]verbs.Completion
	for !c.ending() {
		n, err := c.cq.Poll(wc[:])
		if err == nil && n == 0 {
			err = c.cq.Wait()
		}
		if err == nil {
			err = c.take(wc[:n])
		}
		if err != nil {
			return err
		}
	}
	return c.err
}

// take handles completions. Receives are posted again before any record that
// lets the client use them goes out.
func (c *serving) take(wc []verbs.Completion) error {
	c.arrived, c.reposts = c.arrived[:0], c.reposts[:0]
	for i := range wc {
		if err := c.completed(&wc[i]); err != nil {
			return err
		}
	}
	if len(c.reposts) > 0 {
		if err := c.parts.qp.PostRecv(c.reposts); err != nil {
			return err
		}
	}
	for i := range c.arrived {
		c.answer(c.arrived[i])
	}
	c.out.flush()
	return nil
}

func (c *serving) completed(w *verbs.Completion) error {
	switch {
	case w.Status != verbs.StatusOK:
		return fmt.Errorf("%w: %v", transport.ErrConnLost, w.Status)
	case w.ID&recvBit == 0:
		c.out.completed(w.ID)
		return nil
	case w.HasImm:
		return fmt.Errorf("%w: a message with an immediate", transport.ErrProtocol)
	}
	cell := int(w.ID &^ recvBit)
	message := c.parts.received(cell, int(w.Bytes))
	if c.setUp != nil {
		return c.greet(message)
	}
	r, err := parseRequest(message)
	if err != nil {
		return err
	}
	if !c.out.begin(r.tag.slot()) {
		return fmt.Errorf("%w: a request for slot %d, whose last one is under way", transport.ErrProtocol, r.tag.slot())
	}
	c.reposts = append(c.reposts, c.parts.recv(cell))
	c.arrived = append(c.arrived, r)
	return nil
}

// answer queues the reply to r, or has a worker make it.
func (c *serving) answer(r request) {
	if r.length > pieceSize || !c.tryNow(r) {
		c.hand(r)
	}
}

// tryNow reports false if there is no staging buffer or the source would block.
func (c *serving) tryNow(r request) bool {
	p := r.part(0, r.length)
	if r.length > 0 {
		b, ok := c.server.arena.tryTake(&c.share)
		if !ok {
			return false
		}
		p.put(b)
	}
	err := c.member.source.Read(r.file, r.off, p.bytes(), false)
	if errors.Is(err, transport.ErrWouldBlock) {
		p.giveBack(c.server.arena)
		return false
	}
	c.finish(r, p, checksum(r, 0, p), err)
	return true
}

// hand gives r to a worker. There is room for all requests that a client may
// have under way.
func (c *serving) hand(r request) {
	if c.unserved.Add(1) > int32(c.workers) && c.workers < maxWorkers {
		c.workers++
		c.wg.Go(c.work)
	}
	c.jobs <- r
}

func (c *serving) work() {
	for r := range c.jobs {
		if !c.ending() {
			c.fetch(r)
		}
		c.unserved.Add(-1)
	}
}

// fetch answers r piece by piece, and waits for staging and the source.
func (c *serving) fetch(r request) {
	var crc uint32
	for at := uint32(0); ; at += pieceSize {
		p := r.part(at, min(r.length-at, pieceSize))
		if p.n > 0 {
			b, err := c.server.arena.take(&c.share, c.quit)
			if err != nil {
				return
			}
			p.put(b)
		}
		err := c.member.source.Read(r.file, r.off+int64(at), p.bytes(), true)
		crc = checksum(r, crc, p)
		if err != nil || at+p.n == r.length {
			c.finish(r, p, crc, err)
			c.out.flush()
			return
		}
		c.out.piece(p)
		c.out.flush()
	}
}

// finish queues the record that ends r, behind the last of its payload unless
// the source failed.
func (c *serving) finish(r request, last parcel, crc uint32, err error) {
	a := answer{record: record{tag: r.tag, status: status.Of(err), length: r.length, file: r.file, off: r.off}, imm: uint32(r.tag)}
	if err != nil {
		last.giveBack(c.server.arena)
	} else {
		a.last, a.record.crc = last, crc
		c.server.bytes.Add(int64(r.length))
	}
	c.server.requests.Add(1)
	if c.server.alter == nil || c.server.alter(c, &a) {
		c.out.reply(a)
	}
}

// part is n bytes of r's payload, from at on. It has no memory yet.
func (r request) part(at, n uint32) parcel {
	return parcel{n: n, remote: r.addr + uint64(at), rkey: r.rkey}
}

// put gives the parcel its memory.
func (p *parcel) put(b *staging) { p.from, p.local = b, verbs.Addr(b.mem) }

// bytes is the parcel's memory; nil if it is empty.
func (p *parcel) bytes() []byte {
	if p.from == nil {
		return nil
	}
	return p.from.mem[:p.n]
}

func (p *parcel) giveBack(a *arena) {
	if p.from != nil {
		a.put(p.from)
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum adds p to the crc of what came before it, if r asks for one.
func checksum(r request, crc uint32, p parcel) uint32 {
	if !r.checksum {
		return 0
	}
	return crc32.Update(crc, castagnoli, p.bytes())
}
