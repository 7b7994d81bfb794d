package rdma

import (
	"errors"

	"hbmfs/transport"
	"hbmfs/transport/rdma/internal/verbs"
	"hbmfs/transport/rdma/internal/wire"
)

// Where things are in a connection's control memory, in bytes. Peers may write
// to all before sendsAt.
const (
	proofAt     = 4096 // behind the mailbox
	answersAt   = proofAt + wire.ProofSize
	sendsAt     = answersAt + wire.Depth*transport.MaxCall
	helloAt     = sendsAt + wire.Depth*wire.MessageSize
	controlSize = helloAt + wire.HelloSize
)

// control is the memory of a connection that is not payload: its mailbox, the
// answers of calls, and the messages it sends.
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
func (m *control) mailbox(slot int) []byte { return m.mem[slot*wire.SlotSize:][:wire.SlotSize] }

// proof is where the peer shows that large messages pass.
func (m *control) proof() []byte { return m.mem[proofAt:][:wire.ProofSize] }

// answer is where the peer writes what a slot's call is answered.
func (m *control) answer(slot int) []byte {
	return m.mem[answersAt+slot*transport.MaxCall:][:transport.MaxCall:transport.MaxCall]
}

// outgoing is where a message is sent from whose first request is a slot's.
func (m *control) outgoing(slot int) []byte {
	return m.mem[sendsAt+slot*wire.MessageSize:][:0:wire.MessageSize]
}

// hello is where the first message is sent from.
func (m *control) hello() []byte { return m.mem[helloAt:][:0:wire.HelloSize] }

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
