package fs

import (
	"log/slog"

	"hbmfs/fs/ctl"
	"hbmfs/fs/uapi"
)

// RunIfBinder ends this process if [Mount] has started it to bind a control
// socket. A program that calls Mount calls this before all else.
func RunIfBinder() { ctl.RunIfBinder() }

// startCtl binds the control socket and serves it: in the mount if inside, and
// otherwise beside it.
func startCtl(mountpoint string, inside bool, t *tree, log *slog.Logger) (*ctl.Server, error) {
	return ctl.Start(ctl.Config{
		Mountpoint: mountpoint, Dir: t.ctlDir, Inside: inside, AllowOther: t.cfg.AllowOther, ExportDMABuf: t.cfg.ExportDMABuf,
		Cache: t.cfg.Cache, Stats: func() any { return t.stats() },
		Ops: map[uint32]ctl.Op{
			uapi.CtlRing: t.ctlRing, uapi.CtlBuffer: t.buffers.CtlBuffer, uapi.CtlUnbuffer: t.buffers.CtlUnbuffer,
		},
		Clients: t.bounds.ctl, Log: log, Limited: t.log,
	})
}
