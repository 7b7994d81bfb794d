package buffers

import (
	"syscall"

	"golang.org/x/sys/unix"

	"hbmfs/fs/ctl"
	"hbmfs/fs/uapi"
	"hbmfs/transport"
)

// CtlBuffer registers the memory that came with a request: a buffer of the connection's.
// The log says why it can't be one.
func (t *Table) CtlBuffer(c *ctl.Conn, r *ctl.Request) ctl.Reply {
	req, err := uapi.DecodeCtlBuffer(r.Body)
	if err != nil {
		return ctl.Fail(err)
	}
	fd, err := r.Take()
	if err != nil {
		return ctl.Fail(err)
	}
	defer unix.Close(fd)
	b, err := t.Register(transport.Domain{UID: c.UID, Device: req.Device}, fd, int64(req.Offset), int64(req.Length))
	if err != nil {
		t.cfg.Log.Warn("memory of a program can't be a buffer", c.User(), "uid", c.UID, "error", err)
		return ctl.Fail(err)
	}
	if !c.Keep(b) {
		b.Close()
		return ctl.Fail(syscall.ENOTCONN)
	}
	b.onUnregister(func() { c.Drop(b) })
	return ctl.Reply{Head: uapi.CtlReply{Region: b.ID(), Length: req.Length, Device: req.Device}}
}

// CtlUnbuffer ends a buffer of the user's.
func (t *Table) CtlUnbuffer(c *ctl.Conn, r *ctl.Request) ctl.Reply {
	req, err := uapi.DecodeCtlRequest(r.Body)
	if err == nil && len(r.FDs) > 0 {
		err = syscall.EINVAL
	}
	if err == nil {
		err = t.Unregister(c.UID, req.Region)
	}
	if err != nil {
		return ctl.Fail(err)
	}
	return ctl.Reply{}
}
