package fs

import (
	"context"
	"encoding/json"
	"net"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"hbmfs/cache/device"
	"hbmfs/fs/errnos"
	"hbmfs/fs/uapi"
)

// serve answers one client until it hangs up or sends what is no request.
func (s *ctlServer) serve(c *net.UnixConn, uid uint32) {
	defer s.leave(c)
	var in [64]byte
	for {
		n, err := c.Read(in[:])
		if err != nil || n == 0 {
			return
		}
		reply, fd := s.answer(uid, in[:n])
		if err := send(c, reply, fd); err != nil {
			return
		}
	}
}

// send passes fd on, if that is not -1, and closes it.
func send(c *net.UnixConn, reply []byte, fd int) error {
	var rights []byte
	if fd >= 0 {
		defer unix.Close(fd)
		rights = unix.UnixRights(fd)
	}
	_, _, err := c.WriteMsgUnix(reply, rights, nil)
	return err
}

func peerUID(c *net.UnixConn) (uint32, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) {
		cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if cerr != nil {
		return 0, cerr
	}
	return cred.Uid, nil
}

// answer returns a reply, and the descriptor that goes with it or -1.
func (s *ctlServer) answer(uid uint32, in []byte) (reply []byte, fd int) {
	req, err := uapi.DecodeCtlRequest(in)
	switch {
	case err != nil:
		s.t.log.Warn("bad request on the control socket", strconv.Itoa(int(uid)), "uid", uid, "error", err)
		return ctlError(errnos.Of(err)), -1
	case req.Op == uapi.CtlRegion:
		return s.region(uid, req.Region)
	case req.Op == uapi.CtlUnpin:
		n, _ := s.t.cfg.Cache.UnpinAll(context.Background(), uid) // whoever asks can't be interrupted
		return encodeCtlReply(&uapi.CtlReply{Length: uint64(n)}, nil), -1
	}
	return s.stats(), -1
}

func ctlError(errno syscall.Errno) []byte {
	return encodeCtlReply(&uapi.CtlReply{Error: int32(errno)}, nil)
}

func encodeCtlReply(r *uapi.CtlReply, tail []byte) []byte {
	r.Size = uint32(uapi.CtlReplySize)
	out := make([]byte, uapi.CtlReplySize, uapi.CtlReplySize+len(tail))
	uapi.EncodeCtlReply(out, r)
	return append(out, tail...)
}

// region passes a region's descriptor to the user it belongs to. The daemon's own
// may be closed before the client reads, so it passes another.
func (s *ctlServer) region(uid, id uint32) (reply []byte, fd int) {
	head, fd, err := uapi.CtlReply{Region: id}, -1, error(syscall.ENOENT)
	s.t.cfg.Cache.Region(id, func(r device.Region) {
		dom := r.Domain()
		if dom.UID != uid {
			err = syscall.EACCES
			return
		}
		if r.FD() < 0 {
			err = syscall.EOPNOTSUPP
			return
		}
		head.Length, head.Device = uint64(r.Size()), dom.Device
		fd, err = unix.FcntlInt(uintptr(r.FD()), unix.F_DUPFD_CLOEXEC, 0)
	})
	if err != nil {
		return ctlError(errnos.Of(err)), -1
	}
	return encodeCtlReply(&head, nil), fd
}

func (s *ctlServer) stats() []byte {
	text, err := json.Marshal(s.t.stats())
	if err != nil {
		return ctlError(syscall.EIO)
	}
	return encodeCtlReply(&uapi.CtlReply{Length: uint64(len(text))}, text)
}
