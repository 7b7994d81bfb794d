package target

import (
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/liveness"
	"hbmfs/transport/limits"
	"hbmfs/transport/rdma/internal/hca"
	"hbmfs/transport/rdma/internal/verbs"
	"hbmfs/transport/rdma/internal/wire"
)

var errSetUpTime = fmt.Errorf("%w: the client's first message did not come within %v; if it connects, large packets may be lost: check the MTU of all links",
	transport.ErrConnLost, wire.SetUpTimeout)

// A connection's own memory: a cell for each receive, one more for the first
// message, and a cell for each record under way.
const (
	requestCells = wire.Depth + 1 // one more than a client may use, to see it do so
	helloCell    = requestCells
	recordCells  = requestCells*wire.MessageSize + wire.HelloSize
	areaSize     = recordCells + tickets*wire.SlotSize
)

// parts is what a connection has of its device. All of it is nil until
// it was made.
type parts struct {
	devices *devices
	device  *device
	area    []byte
	mr      *verbs.MR // of the area
	cq      *verbs.CQ
	qp      *verbs.QP
}

// open admits the client, and makes and accepts the connection.
func (c *conn) open(private []byte) error {
	r, secret, code, err := c.admit(private)
	if err == nil {
		code = wire.RejectResources
		err = c.build()
	}
	if err == nil {
		err = c.connect(r, secret)
	}
	if errors.Is(err, hca.ErrPortDown) {
		code = wire.RejectPort
	}
	if err != nil {
		c.refusal = code
	}
	return err
}

// admit lets in a client that knows its session's secret. A session that is
// unknown is refused like a wrong mac.
func (c *conn) admit(private []byte) (r wire.ConnectRequest, secret transport.Secret, code wire.RejectCode, err error) {
	if r, err = wire.ParseConnect(private); err != nil {
		return r, secret, wire.RejectVersion, err
	}
	who, known := c.server.registry.sessions.Session(r.Session)
	if !known {
		rand.Read(who.Secret[:]) // nobody can prove this one
	}
	secret = who.Secret
	if !r.Proves(secret) || !known {
		return r, secret, wire.RejectSession, transport.ErrSession
	}
	if !hca.ValidMTU(int(r.MTU)) {
		return r, secret, wire.RejectMTU, fmt.Errorf("%w: the client announces an MTU of %d bytes", transport.ErrProtocol, r.MTU)
	}
	c.place, err = c.server.registry.enter(r.Session, who, r.Nonce)
	switch {
	case errors.Is(err, limits.ErrLimit):
		return r, secret, wire.RejectCrowded, err
	case err != nil:
		return r, secret, wire.RejectSession, fmt.Errorf("%w: %w", transport.ErrSession, err)
	}
	c.source, c.out.staging = who.Source, c.server.arena.join(who.Client)
	return r, secret, 0, nil
}

// build makes what the connection needs of its device.
func (c *conn) build() (err error) {
	p := &c.parts
	p.devices = c.server.devices
	if p.device, err = p.devices.use(c.port.Device); err != nil {
		return err
	}
	c.unwatched = append(c.unwatched, hca.OnEnd(p.device.Removed, func() { c.fail(hca.ErrRemoved) }))
	if p.area, err = verbs.Alloc(areaSize); err != nil {
		return err
	}
	if p.mr, err = p.device.PD.Register(p.area, verbs.LocalWrite); err != nil {
		return err
	}
	if p.cq, err = p.device.Ctx.NewCQ(sendDepth + requestCells + 1); err != nil {
		return err
	}
	p.qp, err = p.device.PD.NewQP(p.cq, p.cq, verbs.QPConfig{SendDepth: sendDepth, RecvDepth: requestCells + 1})
	if err != nil {
		return err
	}
	c.unwatched = append(c.unwatched, hca.OnEnd(c.ctx, p.cq.Interrupt))
	c.out.init(c.ctx, c.fail, p.qp, p.area[recordCells:], sendDepth)
	c.out.keys = sendKeys{staging: p.device.staging.LKey, cells: p.mr.LKey}
	return nil
}

// connect takes the queue pair up and accepts the client.
func (c *conn) connect(r wire.ConnectRequest, secret transport.Secret) error {
	mtu, err := c.port.MTU(c.parts.device.Ctx)
	if err != nil {
		return err
	}
	mtu = min(int(r.MTU), mtu)
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
	return c.id.Accept(c.parts.qp.Number(), wire.AppendAccept(nil, uint16(mtu), r, secret))
}

// greet checks the client's first message and sends a large packet back, and
// then the record that says so.
func (c *conn) greet(message []byte) error {
	h, err := wire.ParseHello(message)
	if err != nil {
		return err
	}
	if !c.setUp.Stop() {
		return errSetUpTime
	}
	c.setUp = nil
	c.alive = time.AfterFunc(time.Hour, c.ask)
	c.alive.Reset(liveness.Idle) // which c.ask calls too, and so sees
	c.out.keys.mailbox, c.out.keys.mailboxRKey = h.Mailbox, h.RKey
	proof := c.server.arena.proof()
	c.out.reply(answer{
		record: wire.Record{Tag: wire.NewTag(wire.Depth, 0)},
		imm:    uint32(wire.NewTag(wire.Depth, 0)),
		last:   parcel{local: verbs.Addr(proof), n: wire.ProofSize, remote: h.Proof, rkey: h.RKey},
	})
	return nil
}

// recvs is a receive for each cell, the first message's first.
func (p *parts) recvs() []verbs.Recv {
	all := []verbs.Recv{p.recv(helloCell)}
	for i := range requestCells {
		all = append(all, p.recv(i))
	}
	return all
}

func (p *parts) recv(cell int) verbs.Recv {
	b := p.cell(cell)
	return verbs.Recv{ID: recvBit | uint64(cell), Local: verbs.Addr(b), Len: uint32(len(b)), LKey: p.mr.LKey}
}

func (p *parts) cell(i int) []byte {
	from, size := i*wire.MessageSize, wire.MessageSize
	if i == helloCell {
		size = wire.HelloSize
	}
	return p.area[from : from+size : from+size]
}

// received is the message of n bytes in a cell.
func (p *parts) received(cell, n int) []byte { return p.cell(cell)[:n] }

// close closes what there is. Nothing is posted any more, and nothing reads
// staging memory when it returns.
func (p *parts) close() error {
	var errs []error
	destroyed := true
	if p.qp != nil {
		err := p.qp.Close()
		destroyed = err == nil
		errs = append(errs, err)
	}
	if !destroyed {
		p.device.Remove()
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
	if !destroyed { // see hca.Device
		<-p.device.Closed
	}
	return errors.Join(errs...)
}
