package devmemtcp

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/liveness"
	"hbmfs/transport/internal/serving"
)

var errTalkative = errors.New("the client sent something on a data connection after its greeting")

// serve answers a pair's requests until one of its connections ends and returns
// why it did: [io.EOF] if the client closed the head between two requests.
func (s *Server) serve(ctx context.Context, head, data net.Conn, who transport.Admission) error {
	c := serving.NewConn(ctx, head, &carrier{head: head, data: data}, who, s.bounds.Staging)
	var listener sync.WaitGroup
	defer listener.Wait()
	listener.Go(func() { c.Fail(listen(data)) })
	return c.Run()
}

// listen returns when the data connection is of no more use, and why.
func listen(data net.Conn) error {
	var b [1]byte
	if _, err := data.Read(b[:]); err != nil {
		return err
	}
	return errTalkative
}

// carrier is the server's side of a pair, as package serving has it.
type carrier struct {
	head, data net.Conn
	headers    []byte
	payloads   [][]byte
	buffer     net.Buffers
}

// Write implements [serving.Carrier]: it sends the headers, with answers to calls,
// and then the payloads, in one system call each where it can. The client has at most
// its credits under way, so the headers always fit the head's buffer, and it reads
// payloads whatever becomes of headers behind theirs.
func (c *carrier) Write(replies [][]byte) error {
	c.headers, c.payloads = c.headers[:0], c.payloads[:0]
	for _, b := range replies {
		c.split(b)
	}
	defer clear(c.payloads) // none is kept
	deadline := time.Now().Add(liveness.Unaccepted)
	c.head.SetWriteDeadline(deadline)
	if _, err := c.head.Write(c.headers); err != nil || len(c.payloads) == 0 {
		return err
	}
	c.data.SetWriteDeadline(deadline)
	if len(c.payloads) == 1 {
		_, err := c.data.Write(c.payloads[0])
		return err
	}
	c.buffer = c.payloads
	_, err := c.buffer.WriteTo(c.data)
	return err
}

// split adds the headers with answers, and the payloads, of the replies in b to what is sent.
func (c *carrier) split(b []byte) {
	for len(b) > 0 {
		h, _ := frame.ParseReply(b) // this side encoded it
		end := frame.ReplySize + int(h.Length)
		n := frame.ReplySize // of it go by the head
		if h.Answer {
			n = end
		}
		c.headers = append(c.headers, b[:n]...)
		if n < end {
			c.payloads = append(c.payloads, b[n:end])
		}
		b = b[end:]
	}
}

// Close implements [serving.Carrier].
func (c *carrier) Close() {
	c.head.Close()
	c.data.Close()
}
