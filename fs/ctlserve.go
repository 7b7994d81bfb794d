package fs

import (
	"encoding/json"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

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
		reply, rights := s.answer(uid, in[:n])
		if _, _, err := c.WriteMsgUnix(reply, rights, nil); err != nil {
			return
		}
	}
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

func (s *ctlServer) answer(uid uint32, in []byte) (reply, rights []byte) {
	req, err := uapi.DecodeCtlRequest(in)
	switch {
	case err != nil:
		return ctlError(errnoOf(err)), nil
	case req.Op == uapi.CtlRegion:
		return s.region(uid, req.Region)
	}
	return s.stats(), nil
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

// region passes a region's descriptor to the user it belongs to.
func (s *ctlServer) region(uid, id uint32) (reply, rights []byte) {
	r, ok := s.t.cfg.Cache.Region(id)
	if !ok {
		return ctlError(syscall.ENOENT), nil
	}
	dom := r.Domain()
	if dom.UID != uid {
		return ctlError(syscall.EACCES), nil
	}
	reply = encodeCtlReply(&uapi.CtlReply{Length: uint64(r.Size()), Region: id, Device: dom.Device}, nil)
	return reply, unix.UnixRights(r.FD())
}

func (s *ctlServer) stats() []byte {
	text, err := json.Marshal(s.t.stats())
	if err != nil {
		return ctlError(syscall.EIO)
	}
	return encodeCtlReply(&uapi.CtlReply{Length: uint64(len(text))}, text)
}
