package ctl

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
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
		return s.region(c.UID, req.Region, memoryOf)
	case req.Op == uapi.CtlDMABuf && !s.cfg.ExportDMABuf:
		return Fail(syscall.EPERM)
	case req.Op == uapi.CtlDMABuf:
		return s.region(c.UID, req.Region, device.Region.DMABuf)
	case req.Op == uapi.CtlRevoke:
		return s.revoke(c, req.Region)
	case req.Op == uapi.CtlUnpin:
		n, _ := s.cfg.Cache.UnpinAll(context.Background(), c.UID) // whoever asks can't be interrupted
		return Reply{Head: uapi.CtlReply{Length: uint64(n)}}
	}
	return s.stats()
}

// revoke is for those only who could end the mount.
func (s *Server) revoke(c *Conn, device uint32) Reply {
	if c.UID != 0 && c.UID != uint32(os.Geteuid()) {
		return Fail(syscall.EPERM)
	}
	n, bytes, err := s.cfg.Cache.Revoke(device)
	if err != nil {
		return Fail(err)
	}
	s.cfg.Log.Warn("memory revoked", "device", device, "regions", n, "bytes", bytes, "by", c.User(), "pid", c.PID)
	return Reply{Head: uapi.CtlReply{Region: uint32(n), Length: uint64(bytes)}}
}

// memoryOf is the descriptor of a region that the CPU maps.
func memoryOf(r device.Region) (fd int, off int64, ok bool) { return r.FD(), 0, r.FD() >= 0 }

// region passes a region's descriptor to the user it belongs to. The daemon's own
// may be closed before the client reads, so it passes another.
func (s *Server) region(uid, id uint32, descriptor func(device.Region) (fd int, off int64, ok bool)) Reply {
	reply, err := Reply{Head: uapi.CtlReply{Region: id}}, error(syscall.ENOENT)
	s.cfg.Cache.Region(id, func(r device.Region) {
		dom := r.Domain()
		if dom.UID != uid {
			err = syscall.EACCES
			return
		}
		own, off, ok := descriptor(r)
		if !ok {
			err = syscall.EOPNOTSUPP
			return
		}
		reply.Head.Length, reply.Head.FDOffset, reply.Head.Device = uint64(r.Size()), uint64(off), dom.Device
		var fd int
		if fd, err = unix.FcntlInt(uintptr(own), unix.F_DUPFD_CLOEXEC, 0); err == nil {
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
