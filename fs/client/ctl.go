package client

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/fs/uapi"
)

// ctlTimeout is how long the mount may take to answer on the control socket,
// which it does out of its own memory.
const ctlTimeout = 10 * time.Second

// oobRoom is for more descriptors than a reply may have, so that one that has
// too many is told from one that was cut off.
var oobRoom = unix.CmsgSpace(8 * 4)

// ctl is the connection to a mount's control socket.
type ctl struct {
	dial func() (*net.UnixConn, error)

	mu     sync.Mutex    // held over one request and its reply; guards what follows
	conn   *net.UnixConn // nil: not connected
	closed bool
}

// answer is a reply without error. Its fds are its receiver's to close.
type answer struct {
	reply uapi.CtlReply
	body  []byte
	fds   []int
}

// Stats asks the mount for its counters, a JSON object.
func (m *Mount) Stats() ([]byte, error) {
	a, err := m.ctl.ask(uapi.CtlRequest{Size: uint32(uapi.CtlRequestSize), Op: uapi.CtlStats})
	if err != nil {
		return nil, fmt.Errorf("hbmfs: stats of %s: %w", m.root, err)
	}
	return a.body, nil
}

// dialCtl connects to the socket by its directory's descriptor: the path of a
// socket's address is limited to 107 bytes, that of a mount is not.
func (m *Mount) dialCtl() (*net.UnixConn, error) {
	dir := filepath.Join(m.root, ".hbmfs")
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil, fmt.Errorf("%s: %w: if only a part of the mount is visible here, make a directory of it visible too, such as its root, by a bind mount", dir, err)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &os.PathError{Op: "fstat", Path: dir, Err: err}
	}
	if st.Dev != m.dev {
		return nil, errOtherMount
	}
	address := &net.UnixAddr{Net: "unixpacket", Name: fmt.Sprintf("/proc/self/fd/%d/ctl", fd)}
	conn, err := net.DialUnix("unixpacket", nil, address)
	if err != nil {
		return nil, explainCtl(dir, err)
	}
	return conn, nil
}

// explainCtl adds where the socket is, if not in the mount.
func explainCtl(dir string, err error) error {
	to, linkErr := os.Readlink(filepath.Join(dir, "ctl"))
	if linkErr != nil {
		return fmt.Errorf("%s/ctl: %w", dir, err)
	}
	return fmt.Errorf("%s/ctl: %w; this mount is not root's, so its socket is %q: make that visible here too", dir, err, to)
}

// question is a request: the message, the descriptors that go along, and what the
// answer, if it is no errno, has to be.
type question struct {
	message []byte
	fds     []int
	check   func(answer) error
}

// ask is put of a request without descriptors.
func (c *ctl) ask(req uapi.CtlRequest) (answer, error) {
	message := make([]byte, uapi.CtlRequestSize)
	uapi.EncodeCtlRequest(message, &req)
	return c.put(question{message: message, check: func(a answer) error { return a.check(req) }})
}

// put sends one request and returns the answer, checked against it. A
// connection that failed is given up; the next one makes a new one. Errors wrap
// the [syscall.Errno] that the mount answered, [ErrProtocol] or [ErrClosed].
func (c *ctl) put(q question) (answer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return answer{}, ErrClosed
	}
	msg, err := c.exchange(q)
	if err != nil {
		return answer{}, err
	}
	return msg.answerTo(q)
}

// exchange tries a second time if a connection of earlier has ended: another
// daemon may serve the mount by now. With mu.
func (c *ctl) exchange(q question) (message, error) {
	for reused := c.conn != nil; ; reused = false {
		if c.conn == nil {
			conn, err := c.dial()
			if err != nil {
				return message{}, err
			}
			c.conn = conn
		}
		msg, err := exchange(c.conn, q)
		if err == nil {
			return msg, nil
		}
		c.conn.Close()
		c.conn = nil
		if !reused {
			return message{}, err
		}
	}
}

func (c *ctl) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.conn == nil {
		return nil
	}
	conn := c.conn
	c.conn = nil
	return conn.Close()
}

// message is what one receive returned. It owns the descriptors in oob.
type message struct {
	data, oob []byte
	flags     int
}

// exchange sends a request and returns what comes then.
func exchange(conn *net.UnixConn, q question) (message, error) {
	var rights []byte
	if len(q.fds) > 0 {
		rights = unix.UnixRights(q.fds...)
	}
	if err := conn.SetDeadline(time.Now().Add(ctlTimeout)); err != nil {
		return message{}, err
	}
	if _, _, err := conn.WriteMsgUnix(q.message, rights, nil); err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
		return message{}, err
	}
	m, err := receive(conn)
	if errors.Is(err, unix.ECONNRESET) {
		m, err = receive(conn)
	}
	return m, err
}

// receive returns the next message. A mount that refuses a connection says why
// unasked and hangs up: that is still to be read after the kernel has told of the
// end, once, by EPIPE or ECONNRESET.
func receive(conn *net.UnixConn) (message, error) {
	m := message{data: make([]byte, uapi.CtlMax), oob: make([]byte, oobRoom)}
	n, oobn, flags, _, err := conn.ReadMsgUnix(m.data, m.oob)
	m.data, m.oob, m.flags = m.data[:max(n, 0)], m.oob[:max(oobn, 0)], flags
	if err != nil {
		return message{}, err
	}
	if n == 0 && oobn == 0 {
		return message{}, fmt.Errorf("the mount closed the connection: %w", explain(syscall.ECONNABORTED))
	}
	return m, nil
}

// answerTo checks m as the reply to q. Without an error, the descriptors are
// the answer's; otherwise they are closed.
func (m message) answerTo(q question) (answer, error) {
	a, err := m.parse()
	if err == nil {
		err = a.refusal()
	}
	if err == nil {
		err = q.check(a)
	}
	if err != nil {
		for _, fd := range a.fds {
			unix.Close(fd)
		}
		return answer{}, err
	}
	return a, nil
}

// parse takes m apart. The fds that it returns came with m, also if there is an
// error.
func (m message) parse() (a answer, err error) {
	if a.fds, err = parseRights(m.oob); err != nil {
		return a, err
	}
	if m.flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		return a, fmt.Errorf("%w: a reply longer than %d bytes or with too many descriptors", ErrProtocol, uapi.CtlMax)
	}
	if a.reply, a.body, err = uapi.DecodeCtlReply(m.data); err != nil {
		return a, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return a, nil
}

// parseRights returns all descriptors in control data. Other kinds of control
// data, and what the kernel would not write, are an error wrapping
// [ErrProtocol].
func parseRights(oob []byte) (fds []int, err error) {
	for len(oob) > 0 {
		m, rest, err := cutControlMessage(oob)
		if err != nil {
			return fds, err
		}
		more, err := unix.ParseUnixRights(&m)
		if err != nil {
			return fds, fmt.Errorf("%w: control data: %w", ErrProtocol, err)
		}
		fds = append(fds, more...)
		oob = rest
	}
	return fds, nil
}

// cutControlMessage returns the first message in control data and the rest. It
// checks the two lengths that package unix takes on trust.
func cutControlMessage(oob []byte) (m unix.SocketControlMessage, rest []byte, err error) {
	if len(oob) < unix.SizeofCmsghdr {
		return m, nil, fmt.Errorf("%w: %d bytes of control data", ErrProtocol, len(oob))
	}
	m.Header, m.Data, rest, err = unix.ParseOneSocketControlMessage(oob)
	if err != nil {
		return m, nil, fmt.Errorf("%w: control data: %w", ErrProtocol, err)
	}
	if len(m.Data)%4 != 0 {
		return m, nil, fmt.Errorf("%w: %d bytes of descriptors", ErrProtocol, len(m.Data))
	}
	return m, rest, nil
}

// refusal is the errno that was answered, if any.
func (a answer) refusal() error {
	switch errno := syscall.Errno(a.reply.Error); errno {
	case 0:
		return nil
	case syscall.EMFILE, // which a process's own limit would be, and this is not
		syscall.ENOTCONN:
		return explain(errno)
	default:
		return errno
	}
}

func (a answer) check(req uapi.CtlRequest) error {
	switch req.Op {
	case uapi.CtlRegion, uapi.CtlDMABuf:
		return a.checkRegion(req.Region)
	case uapi.CtlUnpin, uapi.CtlRevoke:
		return a.checkUnpin()
	}
	if len(a.fds) != 0 || a.reply.Length != uint64(len(a.body)) {
		return fmt.Errorf("%w: a reply of %d descriptors and %d bytes, which says %d",
			ErrProtocol, len(a.fds), len(a.body), a.reply.Length)
	}
	return nil
}

func (a answer) checkRegion(region uint32) error {
	switch {
	case len(a.fds) != 1:
		return fmt.Errorf("%w: %d descriptors for one region", ErrProtocol, len(a.fds))
	case a.reply.Region != region:
		return fmt.Errorf("%w: region %d instead", ErrProtocol, a.reply.Region)
	case a.reply.Length == 0 || len(a.body) != 0:
		return fmt.Errorf("%w: a region of %d bytes, with %d more in the reply", ErrProtocol, a.reply.Length, len(a.body))
	}
	return nil
}
