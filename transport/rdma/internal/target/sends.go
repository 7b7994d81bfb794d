package target

import (
	"context"
	"fmt"
	"sync"

	"hbmfs/transport/internal/serving"
	"hbmfs/transport/rdma/internal/verbs"
	"hbmfs/transport/rdma/internal/wire"
)

const (
	// sendDepth is how many sends of a connection may be posted and not known
	// to be complete.
	sendDepth = 128
	// tickets covers all sends that are posted, and what may wait to be: a
	// record for each slot, and a piece for each staging buffer.
	tickets = sendDepth + wire.Depth + 1 + maxHeld
)

// poster is a queue pair's send side.
type poster interface{ Post([]verbs.Work) error }

// ticket is what a send whose completion is asked for stands for.
type ticket struct {
	from   []byte // staging that goes back once the send is complete
	places int    // in the send queue: its own, and a write's before it
}

// sends makes work of a connection's replies, and knows what becomes of it: which
// staging it reads, and which of the client's slots are in use.
type sends struct {
	qp      poster
	staging staging
	keys    sendKeys
	cells   []byte // of the records under way, a slot's size for each ticket
	box     *serving.Outbox[verbs.Work]
	ctx     context.Context // the connection's
	fail    context.CancelCauseFunc

	mu     sync.Mutex // guards all below and cells; not held over Post. The outbox's is taken under it
	used   uint64     // slots with a request under way, a bit each
	out    [tickets]ticket
	free   []uint16 // tickets
	closed bool
}

// sendKeys are the keys that a connection's sends need.
type sendKeys struct {
	staging, cells uint32 // local
	mailbox        uint64 // the client's
	mailboxRKey    uint32
}

// init readies the sends; cells holds a slot's size for each ticket, and room is the
// queue pair's.
func (o *sends) init(ctx context.Context, fail context.CancelCauseFunc, qp poster, cells []byte, room int) {
	o.ctx, o.fail, o.qp, o.cells = ctx, fail, qp, cells
	o.box = serving.NewOutbox(room, o.post)
	o.free = make([]uint16, 0, tickets)
	for i := range uint16(tickets) {
		o.free = append(o.free, i)
	}
}

// begin notes a request for slot. It reports false if one is under way there.
func (o *sends) begin(slot int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	bit := uint64(1) << slot
	if o.used&bit != 0 {
		return false
	}
	o.used |= bit
	return true
}

// piece queues a part of a payload that others follow. The staging buffer is not
// the caller's any more.
func (o *sends) piece(p parcel) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pieceLocked(p)
}

func (o *sends) pieceLocked(p parcel) {
	if t, ok := o.issue(ticket{p.from, 1}); ok {
		w := o.write(p)
		w.ID, w.Signaled = uint64(t), true
		o.box.Push(w)
	}
}

// reply queues an answer, whose staging buffer is not the caller's any more.
func (o *sends) reply(a answer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	places := 1
	if a.last.n > 0 {
		places = 2
	}
	t, ok := o.issue(ticket{a.last.from, places})
	if !ok {
		return
	}
	cell := o.cells[int(t)*wire.SlotSize:]
	wire.AppendRecord(cell[:0], a.record)
	w := verbs.Work{
		ID: uint64(t), Op: verbs.WorkWriteImm, Signaled: true, Imm: a.imm,
		Local: verbs.Addr(cell), Len: wire.RecordSize, LKey: o.keys.cells,
		Remote: o.keys.mailbox + uint64(a.record.Tag.Slot()*wire.SlotSize), RKey: o.keys.mailboxRKey,
	}
	if a.last.n > 0 {
		o.box.Push(o.write(a.last), w)
	} else {
		o.box.Push(w)
	}
}

// probe queues a write of nothing, unless a send is under way. A client that is
// gone acknowledges neither, which fails the queue pair.
func (o *sends) probe() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.free) == tickets {
		o.pieceLocked(parcel{remote: o.keys.mailbox, rkey: o.keys.mailboxRKey})
	}
}

func (o *sends) write(p parcel) verbs.Work {
	return verbs.Work{
		Op: verbs.WorkWrite, Local: p.local, Len: p.n, LKey: o.keys.staging, Remote: p.remote, RKey: p.rkey,
	}
}

// issue returns the index of a free ticket, which becomes t. Once closed it gives
// t's staging back, and reports false.
func (o *sends) issue(t ticket) (i uint16, ok bool) {
	if o.closed {
		o.staging.put(t.from)
		return 0, false
	}
	i = o.free[len(o.free)-1]
	o.free = o.free[:len(o.free)-1]
	o.out[i] = t
	return i, true
}

// completed takes note that a send is complete.
func (o *sends) completed(id uint64) {
	o.mu.Lock()
	t := o.out[id]
	o.out[id] = ticket{}
	o.free = append(o.free, uint16(id))
	o.mu.Unlock()
	o.staging.put(t.from)
	o.box.Sent(t.places)
}

// flush posts what there is room for.
func (o *sends) flush() { o.box.Flush() }

// post is the outbox's. The slots whose records go out are the client's again.
func (o *sends) post(work []verbs.Work) {
	if o.ctx.Err() != nil {
		return
	}
	o.mu.Lock()
	for _, w := range work {
		if w.Op == verbs.WorkWriteImm {
			o.used &^= 1 << (w.Imm & 0xff)
		}
	}
	o.mu.Unlock()
	if err := o.qp.Post(work); err != nil {
		o.fail(fmt.Errorf("post: %w", err))
	}
}

// close makes what comes from now on be dropped, and returns once nobody posts.
// The context has ended.
func (o *sends) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	if o.box != nil {
		o.box.Wait()
	}
}

// drop gives all staging back. They are closed, and the queue pair is destroyed.
func (o *sends) drop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, t := range o.out {
		o.staging.put(t.from)
		o.out[i] = ticket{}
	}
}
