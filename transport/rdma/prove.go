package rdma

import (
	"errors"
	"fmt"

	"hbmfs/transport"
	"hbmfs/transport/rdma/internal/verbs"
	"hbmfs/transport/rdma/internal/wire"
)

var errUnanswered = errors.New("no acknowledgement")

// prove sends a message as large as the MTU allows, and returns once the target
// has seen it and sent one back.
func (c *conn) prove() error {
	message := wire.AppendHello(c.control.hello(), wire.Hello{
		Mailbox: c.control.in.Addr, Proof: c.control.in.Addr + proofAt, RKey: c.control.in.RKey,
	})
	if err := c.post([]verbs.Work{c.control.send(workID(workHello, 0), message)}, nil); err != nil {
		return err
	}
	for owes := owesRecord | owesSend; owes != 0; {
		n, err := c.poll()
		if err != nil {
			return err
		}
		for i := range c.wc[:n] {
			paid, err := c.proving(&c.wc[i])
			if err != nil {
				return err
			}
			if owes&paid == 0 {
				return fmt.Errorf("%w: the set-up ended twice", transport.ErrProtocol)
			}
			owes &^= paid
		}
	}
	return nil
}

// proving checks a completion of the set-up, and says what is no longer owed.
func (c *conn) proving(w *verbs.Completion) (paid uint32, err error) {
	kind := work(w.ID >> 8)
	switch {
	case w.Status == verbs.StatusRetryExceeded:
		return 0, errUnanswered
	case w.Status != verbs.StatusOK:
		return 0, fmt.Errorf("%w: %s: %v", transport.ErrConnLost, workNames[kind], w.Status)
	case kind == workHello:
		return owesSend, nil
	}
	rec, err := wire.ParseRecord(c.control.mailbox(wire.Depth))
	if err != nil {
		return 0, err
	}
	if done := wire.NewTag(wire.Depth, 0); w.Op != verbs.OpRecvWithImm || wire.Tag(w.Imm) != done || rec != (wire.Record{Tag: done}) {
		return 0, fmt.Errorf("%w: the set-up ended with %+v", transport.ErrProtocol, rec)
	}
	return owesRecord, wire.CheckPattern(c.control.proof())
}
