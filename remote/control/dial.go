package control

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/printable"
)

// alpnControl is what control connections with TLS are for: gRPC.
const alpnControl = "h2"

// unreachableError is why there is no control connection, in words for users:
// those of gRPC are about its own parts.
type unreachableError struct{ why error }

func (e *unreachableError) Error() string   { return "can't be reached: " + e.why.Error() }
func (e *unreachableError) Unwrap() []error { return []error{transport.ErrConnLost, e.why} }

// dialer makes control connections, and remembers why the last one came to
// nothing.
type dialer struct {
	addr string
	tls  *tls.Config

	mu  sync.Mutex
	why error // nil once the target has greeted
}

func newDialer(addr string, config *tls.Config) *dialer {
	d := &dialer{addr: addr}
	if config != nil {
		d.tls = config.Clone()
		d.tls.NextProtos = []string{alpnControl}
		if host, _, err := net.SplitHostPort(addr); err == nil && d.tls.ServerName == "" {
			d.tls.ServerName = host
		}
	}
	return d
}

func (d *dialer) dial(ctx context.Context) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", d.addr)
	if err != nil {
		return nil, d.note(explainDial(err))
	}
	if d.tls == nil {
		return newGreetedConn(conn, d), nil
	}
	secure := tls.Client(conn, d.tls)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, d.note(explainHandshake(err))
	}
	return newGreetedConn(secure, d), nil
}

func (d *dialer) note(why error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.why = why
	return why
}

// explain says of a call that was lost why there is no connection, if there is
// none.
func (d *dialer) explain(err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.why == nil || !errors.Is(err, transport.ErrConnLost) {
		return err
	}
	return &unreachableError{d.why}
}

func explainDial(err error) error {
	var errno syscall.Errno
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: nothing listens there; is 'hbmfs serve' running?", syscall.ECONNREFUSED)
	case errors.As(err, &errno):
		return errno
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("it does not answer; is the host up, and the port open to this one?")
	}
	return err
}

func explainHandshake(err error) error {
	var clear tls.RecordHeaderError
	switch {
	case errors.As(err, &clear):
		return strangerError(clear.RecordHeader[:])
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return errors.New("it ended the TLS handshake without a word, as a target without TLS does; is it started with --tls-cert?")
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("it took the connection, and did not answer the TLS handshake; is it an hbmfs target?")
	}
	return fmt.Errorf("TLS: %w", err)
}

// settings is the type of the frame that an HTTP/2 server begins with, in the
// fourth byte.
const settings = 4

// strangerError says what a server is that greets as no target does.
func strangerError(first []byte) error {
	const asTLS = "\x15\x03" // an alert, of any version
	if string(first[:2]) == asTLS {
		return errors.New("it uses TLS, and this mount does not; give --tls-cert, --tls-key and --tls-ca")
	}
	return fmt.Errorf("what listens there is no hbmfs target: it began with %q", first)
}

// greetedConn is a control connection that looks at how the server greets. It is
// read by one goroutine.
type greetedConn struct {
	net.Conn
	dialer *dialer
	first  []byte // until there are four
	heard  func() // closes answer
	answer chan struct{}
}

func newGreetedConn(conn net.Conn, d *dialer) *greetedConn {
	c := &greetedConn{Conn: conn, dialer: d, answer: make(chan struct{})}
	c.heard = sync.OnceFunc(func() { close(c.answer) })
	return c
}

// Read implements [net.Conn].
func (c *greetedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	select {
	case <-c.answer:
		return n, err
	default:
	}
	if n > 0 {
		err = c.look(p[:n])
	} else if err != nil {
		err = c.dialer.note(explainSilence(err))
	}
	if err != nil {
		c.heard()
		return 0, err
	}
	return n, nil
}

func (c *greetedConn) look(p []byte) error {
	c.first = append(c.first, p[:min(len(p), 8-len(c.first))]...)
	if len(c.first) < 4 {
		return nil
	}
	if c.first[3] != settings {
		return c.dialer.note(strangerError(c.first))
	}
	c.heard()
	return c.dialer.note(nil)
}

// lastWord is how long a reader may take for why the server ended a connection,
// when a write fails of it.
const lastWord = 100 * time.Millisecond

// Close implements [net.Conn].
func (c *greetedConn) Close() error {
	select {
	case <-c.answer:
	case <-time.After(lastWord):
	}
	return c.Conn.Close()
}

// explainSilence is about a connection that ended before the server greeted.
func explainSilence(err error) error {
	var remote *net.OpError
	switch {
	case errors.As(err, &remote) && remote.Op == "remote error": // an alert
		return fmt.Errorf("it does not accept this mount's certificate: %s", printable.Cut(remote.Err.Error(), printable.MaxName))
	case errors.Is(err, net.ErrClosed):
		return errors.New("it took the connection, and said nothing; is it an hbmfs target?")
	}
	return errors.New("it ended the connection without a word; is it an hbmfs target, and of this release?")
}
