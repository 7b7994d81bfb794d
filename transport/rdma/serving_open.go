package rdma

import (
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/rdma/internal/verbs"
)

// setUpTimeout is how long a client may take from its connection request until
// the server has seen its first message.
const setUpTimeout = 5 * time.Second

var errSetUpTime = fmt.Errorf("%w: the client's first message did not come within %v; if it connects, large packets may be lost: check the MTU of all links",
	transport.ErrConnLost, setUpTimeout)

// A connection's own memory: a cell for each receive, one more for the first
// message, and a cell for each record under way.
const (
	requestCells = depth + 1 // one more than a client may use, to see it do so
	helloCell    = requestCells
	recordCells  = requestCells*slotSize + helloSize
	areaSize     = recordCells + tickets*slotSize
)

// servingParts is what a connection has of its device. All of it is nil until
// it was made.
type servingParts struct {
	devices *serverDevices
	device  *serverDevice
	area    []byte
	mr      *verbs.MR // of the area
	cq      *verbs.CQ
	qp      *verbs.QP
}

// open admits the client, and makes and accepts the connection.
func (c *serving) open(private []byte) error {
	r, secret, code, err := c.admit(private)
	if err == nil {
		code = rejectResources
		err = c.build()
	}
	if err == nil {
		err = c.connect(r, secret)
	}
	if errors.Is(err, errPortDown) {
		code = rejectPort
	}
	if err != nil {
		c.refusal = code
	}
	return err
}

// admit lets in a client that knows its session's secret. A session that is
// unknown is refused like a wrong mac.
func (c *serving) admit(private []byte) (r connectRequest, secret transport.Secret, code rejectCode, err error) {
	if c.surplus {
		return r, secret, rejectCrowded, errCrowd
	}
	if r, err = parseConnect(private); err != nil {
		return r, secret, rejectVersion, err
	}
	secret, source, known := c.server.registry.sessions.Session(r.session)
	if !known {
		rand.Read(secret[:]) // nobody can prove this one
	}
	if !r.proves(secret) || !known {
		return r, secret, rejectSession, transport.ErrSession
	}
	if !validMTU(int(r.mtu)) {
		return r, secret, rejectMTU, fmt.Errorf("%w: the client announces an MTU of %d bytes", transport.ErrProtocol, r.mtu)
	}
	c.member, err = c.server.registry.enter(r.session, source, r.nonce)
	switch {
	case errors.Is(err, errCrowd):
		return r, secret, rejectCrowded, err
	case err != nil:
		return r, secret, rejectSession, fmt.Errorf("%w: %w", transport.ErrSession, err)
	}
	c.share.session = &c.member.staging
	return r, secret, 0, nil
}

// build makes what the connection needs of its device.
func (c *serving) build() (err error) {
	p := &c.parts
	p.devices = c.server.devices
	name, _ := c.id.Device()
	if p.device, err = p.devices.use(name); err != nil {
		return err
	}
	c.released = onEnd(p.device.removed, func() { c.fail(errRemoved) })
	if p.area, err = verbs.Alloc(areaSize); err != nil {
		return err
	}
	if p.mr, err = p.device.pd.Register(p.area, verbs.LocalWrite); err != nil {
		return err
	}
	if p.cq, err = p.device.ctx.NewCQ(serverSends + requestCells + 1); err != nil {
		return err
	}
	p.qp, err = p.device.pd.NewQP(p.cq, p.cq, verbs.QPConfig{SendDepth: serverSends, RecvDepth: requestCells + 1})
	if err != nil {
		return err
	}
	c.out.init(p.qp, c.server.arena, p.area[recordCells:], serverSends, c.fail)
	c.out.keys = outboxKeys{staging: p.device.staging.LKey, cells: p.mr.LKey}
	return c.waitOn(p.cq)
}

// waitOn makes fail interrupt the wait for completions.
func (c *serving) waitOn(cq *verbs.CQ) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cq = cq
	return c.err
}

// connect takes the queue pair up and accepts the client.
func (c *serving) connect(r connectRequest, secret transport.Secret) error {
	_, number := c.id.Device()
	mtu, err := portMTU(c.parts.device.ctx, number)
	if err != nil {
		return err
	}
	mtu = min(int(r.mtu), mtu)
	for _, to := range []verbs.QPState{verbs.Init, verbs.ReadyToReceive, verbs.ReadyToSend} {
		if err := c.id.Move(c.parts.qp, to, mtu); err != nil {
			return err
		}
		if to == verbs.Init {
			err = c.parts.qp.PostRecv(c.parts.recvs())
		}
		if err != nil {
			return err
		}
	}
	return c.id.Accept(c.parts.qp.Number(), appendAccept(nil, uint16(mtu), r, secret))
}

// greet checks the client's first message and sends a large packet back, and
// then the record that says so.
func (c *serving) greet(message []byte) error {
	h, err := parseHello(message)
	if err != nil {
		return err
	}
	if !c.setUp.Stop() {
		return errSetUpTime
	}
	c.setUp = nil
	c.alive = time.AfterFunc(time.Hour, c.ask)
	c.alive.Reset(aliveEvery) // which c.ask calls too, and so sees
	c.out.keys.mailbox, c.out.keys.mailboxRKey = h.mailbox, h.rkey
	proof := c.server.arena.proof()
	c.out.reply(answer{
		record: record{tag: newTag(depth, 0)},
		imm:    uint32(newTag(depth, 0)),
		last:   parcel{local: verbs.Addr(proof), n: proofSize, remote: h.proof, rkey: h.rkey},
	})
	return nil
}

// recvs is a receive for each cell, the first message's first.
func (p *servingParts) recvs() []verbs.Recv {
	all := []verbs.Recv{p.recv(helloCell)}
	for i := range requestCells {
		all = append(all, p.recv(i))
	}
	return all
}

func (p *servingParts) recv(cell int) verbs.Recv {
	b := p.cell(cell)
	return verbs.Recv{ID: recvBit | uint64(cell), Local: verbs.Addr(b), Len: uint32(len(b)), LKey: p.mr.LKey}
}

func (p *servingParts) cell(i int) []byte {
	from, size := i*slotSize, slotSize
	if i == helloCell {
		size = helloSize
	}
	return p.area[from : from+size : from+size]
}

// received is the message of n bytes in a cell.
func (p *servingParts) received(cell, n int) []byte { return p.cell(cell)[:n] }

// close closes what there is. Nothing is posted any more, and nothing reads
// staging memory when it returns.
func (p *servingParts) close() error {
	var errs []error
	destroyed := true
	if p.qp != nil {
		err := p.qp.Close()
		destroyed = err == nil
		errs = append(errs, err)
	}
	if !destroyed {
		p.device.remove()
	}
	if p.cq != nil {
		errs = append(errs, p.cq.Close())
	}
	if p.mr != nil {
		errs = append(errs, p.mr.Close())
	}
	if p.area != nil {
		errs = append(errs, verbs.Free(p.area))
	}
	if p.device != nil {
		errs = append(errs, p.devices.leave(p.device))
	}
	if !destroyed { // see lifetime
		<-p.device.closed
	}
	return errors.Join(errs...)
}
