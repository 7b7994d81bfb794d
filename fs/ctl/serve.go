package ctl

import (
	"context"
	"encoding/json"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"hbmfs/cache/device"
	"hbmfs/fs/uapi"
)

// serve answers one client until it hangs up or sends what is no request.
func (s *Server) serve(c *Conn) {
	defer s.leave(c)
	var in [maxRequest]byte
	for {
		r, err := c.receive(&in)
		if err != nil {
			return
		}
		reply := s.answer(c, r)
		r.close()
		if err := c.send(reply); err != nil {
			return
		}
	}
}

func (s *Server) answer(c *Conn, r *Request) Reply {
	if op, ok := s.cfg.Ops[r.op()]; ok {
		return op(c, r)
	}
	req, err := uapi.DecodeCtlRequest(r.Body)
	if err == nil && len(r.FDs) > 0 {
		err = fmt.Errorf("%w: %d descriptors came with it", syscall.EINVAL, len(r.FDs))
	}
	switch {
	case err != nil:
		s.cfg.Limited.Warn("bad request on the control socket", c.User(), "uid", c.UID, "error", err)
		return Fail(err)
	case req.Op == uapi.CtlRegion:
		return s.region(c.UID, req.Region)
	case req.Op == uapi.CtlUnpin:
		n, _ := s.cfg.Cache.UnpinAll(context.Background(), c.UID) // whoever asks can't be interrupted
		return Reply{Head: uapi.CtlReply{Length: uint64(n)}}
	}
	return s.stats()
}

// region passes a region's descriptor to the user it belongs to. The daemon's own
// may be closed before the client reads, so it passes another.
func (s *Server) region(uid, id uint32) Reply {
	reply, err := Reply{Head: uapi.CtlReply{Region: id}}, error(syscall.ENOENT)
	s.cfg.Cache.Region(id, func(r device.Region) {
		dom := r.Domain()
		if dom.UID != uid {
			err = syscall.EACCES
			return
		}
		if r.FD() < 0 {
			err = syscall.EOPNOTSUPP
			return
		}
		reply.Head.Length, reply.Head.Device = uint64(r.Size()), dom.Device
		var fd int
		if fd, err = unix.FcntlInt(uintptr(r.FD()), unix.F_DUPFD_CLOEXEC, 0); err == nil {
			reply.FDs = []int{fd}
		}
	})
	if err != nil {
		return Fail(err)
	}
	return reply
}

func (s *Server) stats() Reply {
	text, err := json.Marshal(s.cfg.Stats())
	if err != nil {
		return Fail(syscall.EIO)
	}
	return Reply{Head: uapi.CtlReply{Length: uint64(len(text))}, Tail: text}
}
