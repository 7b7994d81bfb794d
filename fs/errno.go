package fs

import (
	"syscall"

	"hbmfs/fs/errnos"
)

// errno is the one way out for errors. It counts those that are no everyday
// answer, and logs those that the caller's errno does not explain.
func (t *tree) errno(op, what string, err error) syscall.Errno {
	errno := errnos.Of(err)
	switch errno {
	case syscall.ENOENT, syscall.EINTR, syscall.ENOTTY: // isatty(3) asks for a command of terminals
		return errno
	case syscall.EIO, syscall.ENODEV, syscall.ENOMEM, syscall.ENFILE, syscall.EDQUOT:
		t.log.Warn("request failed", what, "op", op, "path", what, "source", t.cfg.Source, "error", err)
	}
	t.count.errnos.Add(errno)
	return errno
}
