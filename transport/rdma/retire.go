package rdma

import (
	"cmp"

	"hbmfs/transport/rdma/internal/hca"
)

// Retire implements [lanes.Carrier]: it destroys the queue pair before it ends
// the requests that wait for the peer. The peer hears of it last.
func (c *conn) Retire(err error) {
	if c.released != nil {
		c.released()
	}
	if c.qp != nil {
		c.drain()
	}
	if c.closeQueues() == nil {
		c.abandon(err)
	}
	c.closeMemory()
	for range c.Unanswered() { // the queue pair is not destroyed: see hca.Device
		<-c.device.Closed
	}
	c.abandon(err)
	c.part(err)
}

// closeQueues closes what the device may write by. An error means that the queue
// pair may still be there, on a device that is being removed.
func (c *conn) closeQueues() (err error) {
	if c.flushed != nil {
		c.flushed()
	}
	if c.qp != nil {
		err = c.qp.Close()
	}
	if err != nil {
		c.device.Remove()
	}
	if c.cq != nil {
		_ = c.cq.Close()
	}
	return err
}

// closeMemory gives back what else the connection has of its device.
func (c *conn) closeMemory() {
	_ = c.control.close()
	if c.device != nil {
		c.link.device.release(c.device)
	}
}

// part has the peer told that the connection ends because of err.
func (c *conn) part(err error) {
	d := hca.Disconnect{Port: c.port, Settle: hca.SettleTime(err), Send: c.leave}
	if c.port != (hca.Port{}) {
		d.Removed = c.device.Removed.Done()
		if !c.watched {
			c.events.Resume()
			c.heed()
		}
	}
	hca.Disconnects.Add(d)
}

// leave tells the peer, if it was ever asked for a connection.
func (c *conn) leave() {
	if c.events != nil {
		c.events.Interrupt()
		c.watcher.Wait()
	}
	if c.id != nil {
		_ = c.id.Disconnect() // fails if the peer did first
		_ = c.id.Close()
	}
	if c.events != nil {
		_ = c.events.Close()
	}
}

// abandon ends all requests that wait for the peer. Nothing can write their
// destinations any more.
func (c *conn) abandon(err error) {
	for i := range c.Unanswered() {
		s := &c.slots[i]
		c.Answered(i)
		s.finish(c.link.Failure(s.req.Request, cmp.Or(s.fault, err)))
	}
}
