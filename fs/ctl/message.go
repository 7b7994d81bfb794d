package ctl

import (
	"errors"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/fs/errnos"
	"hbmfs/fs/uapi"
)

const (
	// maxRequest is more than any request has, in bytes.
	maxRequest = 64
	// maxRights is how many descriptors of a request are told from one. The kernel closes
	// what there is no room for.
	maxRights = 2
)

// sendTimeout is how long a client may leave a reply that there is no room for. One that
// has died is noticed at its connection's end only, and that may be on the way to the
// daemon, as a descriptor of a request behind those that are not answered. Tests set it.
var sendTimeout = 10 * time.Second

// Request is what a client sent.
type Request struct {
	Body []byte // the message; valid until the request is answered
	FDs  []int  // that came with it; the server's to close, except what [Request.Take] took
}

// Op answers requests of one kind. It may keep things with the connection.
type Op func(c *Conn, r *Request) Reply

// Take returns the one descriptor of a request that wants one, which is the caller's
// then. With none, or several, the error is EINVAL.
func (r *Request) Take() (fd int, err error) {
	if len(r.FDs) != 1 {
		return -1, syscall.EINVAL
	}
	fd = r.FDs[0]
	r.FDs = nil
	return fd, nil
}

// op is that of the message, 0 if it is too short to have one.
func (r *Request) op() uint32 { return uapi.CtlOp(r.Body) }

func (r *Request) close() {
	for _, fd := range r.FDs {
		unix.Close(fd)
	}
}

// Reply is an answer. Its descriptors are passed on, and closed.
type Reply struct {
	Head uapi.CtlReply
	Tail []byte // what follows the structure
	FDs  []int
}

// Fail is the reply to a request that failed.
func Fail(err error) Reply { return Reply{Head: uapi.CtlReply{Error: int32(errnos.Of(err))}} }

func (r *Reply) encode() []byte {
	r.Head.Size = uint32(uapi.CtlReplySize)
	out := make([]byte, uapi.CtlReplySize, uapi.CtlReplySize+len(r.Tail))
	uapi.EncodeCtlReply(out, &r.Head)
	return append(out, r.Tail...)
}

// errUnread: a client asks for descriptors and has not read the reply before.
var errUnread = errors.New("a reply was not read")

// send sends a reply, once. Descriptors that are on their way count for the user of this
// process, who may have only so many (RLIMIT_NOFILE): so a client has one reply's.
func (c *Conn) send(r Reply) error {
	var rights []byte
	err := c.socket.SetWriteDeadline(time.Now().Add(sendTimeout))
	if len(r.FDs) > 0 && err == nil {
		rights, err = unix.UnixRights(r.FDs...), c.allRead()
	}
	if err == nil {
		_, _, err = c.socket.WriteMsgUnix(r.encode(), rights, nil)
	}
	for _, fd := range r.FDs {
		unix.Close(fd)
	}
	return err
}

// allRead returns nil if the client has read all replies.
func (c *Conn) allRead() (err error) {
	unread := 0
	if ctlErr := c.Socket(func(fd int) { unread, err = unix.IoctlGetInt(fd, unix.SIOCOUTQ) }); ctlErr != nil {
		return ctlErr
	}
	if err == nil && unread > 0 {
		err = errUnread
	}
	return err
}

// receive returns the next request. buf has room for one.
func (c *Conn) receive(buf *[maxRequest]byte) (*Request, error) {
	oob := make([]byte, unix.CmsgSpace(4*maxRights))
	n, rights, flags, _, err := c.socket.ReadMsgUnix(buf[:], oob)
	if err != nil {
		return nil, err
	}
	r := &Request{Body: buf[:n], FDs: rightsIn(oob[:rights])}
	if n == 0 {
		r.close()
		return nil, net.ErrClosed
	}
	if flags&(unix.MSG_CTRUNC|unix.MSG_TRUNC) != 0 {
		r.close()
		r.Body, r.FDs = nil, nil
	}
	return r, nil
}

// rightsIn returns the descriptors of an ancillary message.
func rightsIn(oob []byte) (fds []int) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range messages {
		if got, err := unix.ParseUnixRights(&messages[i]); err == nil {
			fds = append(fds, got...)
		}
	}
	return fds
}
