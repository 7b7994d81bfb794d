package rdma

import (
	"fmt"
	"sync"

	"hbmfs/transport/rdma/internal/verbs"
)

const (
	// serverSends is how many sends of a connection may be posted and not known
	// to be complete.
	serverSends = 128
	// tickets covers all sends that are posted, and what may wait to be: a
	// record for each slot, and a piece for each staging buffer.
	tickets = serverSends + depth + 1 + maxHeld
)

// poster is a queue pair's send side.
type poster interface{ Post([]verbs.Work) error }

// parcel is payload that is ready to be written: n bytes at a local address,
// which is in a staging buffer, if it is in any.
type parcel struct {
	from   *staging
	local  uint64
	n      uint32
	remote uint64
	rkey   uint32
}

// answer is what ends a request: the last of its payload, if any, then its
// record and an immediate.
type answer struct {
	record record
	imm    uint32
	last   parcel
}

// ticket is what a send whose completion is asked for stands for.
type ticket struct {
	from   *staging // goes back once the send is complete
	places int      // in the send queue: its own, and a write's before it
}

// outbox is what waits to be posted to a connection's send queue, which it never
// overflows. Whoever flushes while nobody posts does the posting.
type outbox struct {
	qp    poster
	arena *arena
	fail  func(error)
	keys  outboxKeys
	cells []byte // of the records under way, one slotSize for each ticket

	mu    sync.Mutex // guards all below; not held over Post
	quiet sync.Cond  // posting became false
	queue []verbs.Work
	taken []verbs.Work // the poster's own
	room  int          // in the send queue
	used  uint64       // slots with a request under way, a bit each
	out   [tickets]ticket
	free  []uint16 // tickets

	posting, closed bool
}

// outboxKeys are the keys that a connection's sends need.
type outboxKeys struct {
	staging, cells uint32 // local
	mailbox        uint64 // the client's
	mailboxRKey    uint32
}

// init readies the outbox; cells holds tickets times slotSize bytes.
func (o *outbox) init(qp poster, a *arena, cells []byte, room int, fail func(error)) {
	o.qp, o.arena, o.cells, o.room, o.fail = qp, a, cells, room, fail
	o.quiet.L = &o.mu
	o.queue = make([]verbs.Work, 0, tickets)
	o.taken = make([]verbs.Work, 0, tickets)
	o.free = make([]uint16, 0, tickets)
	for i := range uint16(tickets) {
		o.free = append(o.free, i)
	}
}

// begin notes a request for slot. It reports false if one is under way there.
func (o *outbox) begin(slot int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	bit := uint64(1) << slot
	if o.used&bit != 0 {
		return false
	}
	o.used |= bit
	return true
}

// piece queues a part of a payload that others follow. The staging buffer is the
// outbox's from now on.
func (o *outbox) piece(p parcel) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		o.giveBack(p.from)
		return
	}
	w := o.write(p)
	w.ID, w.Signaled = uint64(o.issue(ticket{p.from, 1})), true
	o.queue = append(o.queue, w)
}

// reply queues an answer, whose staging buffer is the outbox's from now on.
func (o *outbox) reply(a answer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		o.giveBack(a.last.from)
		return
	}
	places := 1
	if a.last.n > 0 {
		o.queue = append(o.queue, o.write(a.last))
		places = 2
	}
	t := o.issue(ticket{a.last.from, places})
	cell := o.cells[int(t)*slotSize:]
	appendRecord(cell[:0], a.record)
	o.queue = append(o.queue, verbs.Work{
		ID: uint64(t), Op: verbs.WorkWriteImm, Signaled: true, Imm: a.imm,
		Local: verbs.Addr(cell), Len: recordSize, LKey: o.keys.cells,
		Remote: o.keys.mailbox + uint64(a.record.tag.slot()*slotSize), RKey: o.keys.mailboxRKey,
	})
}

// probe queues a write of nothing, unless a send is under way. A client that is
// gone acknowledges neither, which fails the queue pair.
func (o *outbox) probe() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || len(o.free) < tickets {
		return
	}
	o.queue = append(o.queue, verbs.Work{
		ID: uint64(o.issue(ticket{nil, 1})), Op: verbs.WorkWrite, Signaled: true,
		Local: verbs.Addr(o.cells), LKey: o.keys.cells, Remote: o.keys.mailbox, RKey: o.keys.mailboxRKey,
	})
}

func (o *outbox) write(p parcel) verbs.Work {
	return verbs.Work{
		Op: verbs.WorkWrite, Local: p.local, Len: p.n, LKey: o.keys.staging, Remote: p.remote, RKey: p.rkey,
	}
}

func (o *outbox) issue(t ticket) uint16 {
	i := o.free[len(o.free)-1]
	o.free = o.free[:len(o.free)-1]
	o.out[i] = t
	return i
}

// completed takes note that a send is complete.
func (o *outbox) completed(id uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.out[id]
	o.out[id] = ticket{}
	o.free = append(o.free, uint16(id))
	o.room += t.places
	o.giveBack(t.from)
}

// flush posts what there is room for, unless someone is at it, who then will.
func (o *outbox) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.posting {
		return
	}
	o.posting = true
	for o.takeLocked() {
		o.mu.Unlock()
		err := o.qp.Post(o.taken)
		if err != nil {
			o.fail(fmt.Errorf("post: %w", err))
		}
		o.mu.Lock()
		o.closed = o.closed || err != nil
	}
	o.posting = false
	o.quiet.Broadcast()
}

// takeLocked moves what can be posted now from the queue to taken. The slots
// whose records go out are the client's again.
func (o *outbox) takeLocked() bool {
	n := min(len(o.queue), o.room)
	if n == 0 || o.closed {
		return false
	}
	o.room -= n
	o.taken = append(o.taken[:0], o.queue[:n]...)
	o.queue = append(o.queue[:0], o.queue[n:]...)
	for _, w := range o.taken {
		if w.Op == verbs.WorkWriteImm {
			o.used &^= 1 << (w.Imm & 0xff)
		}
	}
	return true
}

// close makes what comes from now on be dropped, and returns once nobody posts.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for o.posting {
		o.quiet.Wait()
	}
}

// drop gives all staging back. The outbox is closed, and its queue pair is
// destroyed.
func (o *outbox) drop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, t := range o.out {
		o.giveBack(t.from)
		o.out[i] = ticket{}
	}
}

func (o *outbox) giveBack(b *staging) {
	if b != nil {
		o.arena.put(b)
	}
}
