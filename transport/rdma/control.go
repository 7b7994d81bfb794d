package rdma

import (
	"errors"

	"hbmfs/transport/rdma/internal/verbs"
)

// Where things are in a connection's control memory, in bytes. Peers may write
// to all before sendsAt.
const (
	proofAt     = 4096 // behind the mailbox
	sendsAt     = proofAt + proofSize
	helloAt     = sendsAt + depth*slotSize
	controlSize = helloAt + helloSize
)

// control is the memory of a connection that is not payload: its mailbox, and
// the messages it sends.
type control struct {
	mem     []byte
	in, out *verbs.MR
}

func (m *control) init(pd *verbs.PD) (err error) {
	if m.mem, err = verbs.Alloc(controlSize); err != nil {
		return err
	}
	if m.in, err = pd.Register(m.mem[:sendsAt], verbs.LocalWrite|verbs.RemoteWrite); err != nil {
		return err
	}
	m.out, err = pd.Register(m.mem[sendsAt:], verbs.LocalWrite)
	return err
}

// mailbox is where the peer writes the record of a slot.
func (m *control) mailbox(slot int) []byte { return m.mem[slot*slotSize:][:slotSize] }

// proof is where the peer shows that large messages pass.
func (m *control) proof() []byte { return m.mem[proofAt:][:proofSize] }

// outgoing is where the request of a slot is sent from.
func (m *control) outgoing(slot int) []byte { return m.mem[sendsAt+slot*slotSize:][:0:slotSize] }

// hello is where the first message is sent from.
func (m *control) hello() []byte { return m.mem[helloAt:][:0:helloSize] }

// send is the work that sends message, which is in outgoing memory.
func (m *control) send(id uint64, message []byte) verbs.Work {
	return verbs.Work{
		ID: id, Op: verbs.WorkSend, Signaled: true,
		Local: verbs.Addr(message), Len: uint32(len(message)), LKey: m.out.LKey,
	}
}

func (m *control) close() error {
	var errs []error
	for _, mr := range []*verbs.MR{m.in, m.out} {
		if mr != nil {
			errs = append(errs, mr.Close())
		}
	}
	if m.mem != nil {
		errs = append(errs, verbs.Free(m.mem))
	}
	return errors.Join(errs...)
}
