package ctl

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"hbmfs/fs/beside"
)

// bindInside has another process bind in the mount. A listener's reference to its
// path would keep the mount busy for ever, so that is done through a detached
// clone of the mount, and the clone is dropped once the mount is no longer
// visible.
func (s *Server) bindInside() error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, s.cfg.Mountpoint, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("open_tree", err)
	}
	s.clone = os.NewFile(uintptr(fd), s.cfg.Mountpoint)
	s.listener, err = listen(s.cfg.Dir, s.clone)
	return err
}

// bindBeside binds in a directory of its own, to which a symbolic link in the mount
// leads. bind(2) makes a node, which no file system does that
// was mounted read-only (mnt_want_write: EROFS); and fusermount3 can't make one
// read-only later, which root can. So the mount of another user has either the
// socket or the flag.
func (s *Server) bindBeside() error {
	if err := beside.RemoveLeftover(s.watch.Device, uint32(os.Geteuid())); err != nil {
		s.cfg.Log.Warn("remove what a killed daemon left", "error", err)
	}
	mode := os.FileMode(0o700)
	if s.cfg.AllowOther {
		mode = 0o711
	}
	dir, err := beside.Make(s.watch.Device, mode)
	if err != nil {
		return err
	}
	s.beside = dir
	if err := s.bindIn(dir.File); err != nil {
		return err
	}
	path := filepath.Join(dir.Path, SocketName)
	s.cfg.Dir.LeadTo(path)
	// As the one in a mount: who may get what is decided by SO_PEERCRED.
	return os.Chmod(path, 0o666)
}

// bindIn binds in a directory that is open, of another file system than the
// mount: the path of a socket's address is limited to 107 bytes.
func (s *Server) bindIn(dir *os.File) (err error) {
	name := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), SocketName)
	if s.listener, err = net.ListenUnix("unixpacket", &net.UnixAddr{Name: name, Net: "unixpacket"}); err != nil {
		return err
	}
	s.listener.SetUnlinkOnClose(false)
	return nil
}

// dropPlace lets go of where the socket is.
func (s *Server) dropPlace() (err error) {
	if s.clone != nil {
		err = s.clone.Close()
	}
	if s.beside != nil {
		err = errors.Join(err, s.beside.Remove())
	}
	return err
}
