package tcp

import (
	"net"
	"time"

	"hbmfs/transport/internal/liveness"
)

// carrier is the server's side of a connection, as package serving has it.
type carrier struct {
	nc     net.Conn
	buffer net.Buffers
}

// Write implements [serving.Carrier]: in one system call where it can.
func (c *carrier) Write(replies [][]byte) error {
	c.nc.SetWriteDeadline(time.Now().Add(liveness.Unaccepted))
	if len(replies) == 1 {
		_, err := c.nc.Write(replies[0])
		return err
	}
	c.buffer = replies
	_, err := c.buffer.WriteTo(c.nc)
	return err
}

// Close implements [serving.Carrier]. TLS would say goodbye first, and wait for
// that.
func (c *carrier) Close() { raw(c.nc).Close() }
