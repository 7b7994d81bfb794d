package fs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// The socket that hands out region descriptors lives in the mount itself, so
// that whoever sees the mount, also from a container, can reach it. Its
// directory is in the root and is not listed.
const (
	ctlDirName  = ".hbmfs"
	ctlSockName = "ctl"
)

// acceptPause is how long to leave clients waiting when no more can be taken,
// such as for want of descriptors.
const acceptPause = 100 * time.Millisecond

// ctlConnsPerUser is how many clients one user can have on the control socket.
const ctlConnsPerUser = 256

// ctlDir is the unlisted directory. The daemon makes the socket in it by
// bind(2), once; nobody else may make anything.
type ctlDir struct {
	fusefs.Inode
	readOnly
	t     *tree
	owner fuse.Owner

	mu   sync.Mutex
	sock *fusefs.Inode // guarded by mu
}

func newCtlDir(t *tree) *ctlDir {
	return &ctlDir{t: t, owner: fuse.Owner{Uid: uint32(os.Geteuid()), Gid: uint32(os.Getegid())}}
}

// attach makes the directory a child of the mount's root.
func (d *ctlDir) attach(ctx context.Context, root *fusefs.Inode, out *fuse.EntryOut) *fusefs.Inode {
	out.Attr = d.attr()
	return root.NewPersistentInode(ctx, d, fusefs.StableAttr{Mode: syscall.S_IFDIR})
}

func (d *ctlDir) attr() fuse.Attr {
	return fuse.Attr{Mode: syscall.S_IFDIR | 0o755, Nlink: 2, Owner: d.owner}
}

// Getattr describes the directory.
func (d *ctlDir) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Attr = d.attr()
	return 0
}

// Lookup finds the socket.
func (d *ctlDir) Lookup(_ context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if name != ctlSockName || d.sock == nil {
		return nil, syscall.ENOENT
	}
	out.Attr = d.sock.Operations().(*ctlSocket).attr()
	return d.sock, 0
}

// Ioctl answers INFO.
func (d *ctlDir) Ioctl(_ context.Context, _ fusefs.FileHandle, cmd uint32, _ uint64, in, out []byte) (int32, syscall.Errno) {
	return d.t.ioctlDir(cmd, in, out)
}

// Mknod is the daemon's own bind(2).
func (d *ctlDir) Mknod(ctx context.Context, name string, mode, _ uint32, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	caller, ok := fuse.FromContext(ctx)
	if !ok || name != ctlSockName || mode&syscall.S_IFMT != syscall.S_IFSOCK || d.sock != nil || !ownThread(caller.Pid) {
		return nil, syscall.EROFS
	}
	ops := &ctlSocket{owner: d.owner}
	d.sock = d.NewPersistentInode(ctx, ops, fusefs.StableAttr{Mode: syscall.S_IFSOCK})
	out.Attr = ops.attr()
	return d.sock, 0
}

// ownThread reports whether the thread belongs to this process.
func ownThread(tid uint32) bool {
	return unix.Access("/proc/self/task/"+strconv.Itoa(int(tid)), unix.F_OK) == nil
}

// ctlSocket is the socket's inode. Who may get what is decided by SO_PEERCRED.
type ctlSocket struct {
	fusefs.Inode
	readOnly
	owner fuse.Owner
}

func (s *ctlSocket) attr() fuse.Attr {
	return fuse.Attr{Mode: syscall.S_IFSOCK | 0o666, Nlink: 1, Owner: s.owner}
}

// Getattr describes the socket.
func (s *ctlSocket) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Attr = s.attr()
	return 0
}

// ctlServer listens on the socket for as long as the mount is visible.
type ctlServer struct {
	t        *tree
	log      *slog.Logger
	listener *net.UnixListener
	clone    *os.File // detached clone of the mount; nil without the right to make one
	watch    *mountWatch
	wg       sync.WaitGroup

	mu     sync.Mutex
	conns  map[*net.UnixConn]uint32 // guarded by mu; with the user of each
	closed bool                     // guarded by mu
}

// startCtl binds the socket and serves it. A listener's reference to its path
// would keep the mount busy for ever, so it binds through a detached clone of
// the mount, and the clone is dropped once the mount is no longer visible.
func startCtl(mountpoint string, t *tree, log *slog.Logger) (*ctlServer, error) {
	s := &ctlServer{t: t, log: log, conns: make(map[*net.UnixConn]uint32)}
	base, err := s.cloneMount(mountpoint)
	if err != nil {
		log.Warn("the control socket will keep the mount busy: umount needs -l", "error", err, "remedy", "mount as root")
		base = mountpoint
	}
	if s.watch, err = watchMount(mountpoint); err != nil {
		return nil, errors.Join(err, s.dropClone())
	}
	addr := &net.UnixAddr{Name: filepath.Join(base, ctlDirName, ctlSockName), Net: "unixpacket"}
	if s.listener, err = net.ListenUnix("unixpacket", addr); err != nil {
		s.watch.close()
		return nil, errors.Join(fmt.Errorf("bind the control socket in %s: %w", mountpoint, err), s.dropClone())
	}
	s.listener.SetUnlinkOnClose(false)
	s.wg.Go(s.accept)
	go func() {
		s.watch.wait()
		s.close()
	}()
	return s, nil
}

func (s *ctlServer) cloneMount(mountpoint string) (string, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, mountpoint, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return "", fmt.Errorf("open_tree %s: %w", mountpoint, err)
	}
	s.clone = os.NewFile(uintptr(fd), mountpoint)
	return fmt.Sprintf("/proc/self/fd/%d", fd), nil
}

func (s *ctlServer) dropClone() error {
	if s.clone == nil {
		return nil
	}
	return s.clone.Close()
}

// close may be called more than once.
func (s *ctlServer) close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.watch.close()
	s.listener.Close()
	s.wg.Wait()
	if err := s.dropClone(); err != nil {
		s.log.Warn("close the clone of the mount", "error", err)
	}
}

func (s *ctlServer) accept() {
	for {
		c, err := s.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.log.Warn("accept on the control socket", "error", err)
			time.Sleep(acceptPause)
			continue
		}
		s.admit(c)
	}
}

func (s *ctlServer) admit(c *net.UnixConn) {
	uid, err := peerUID(c)
	switch {
	case err != nil:
		s.log.Warn("credentials of a client of the control socket", "error", err)
	case s.enter(c, uid):
		s.wg.Go(func() { s.serve(c, uid) })
		return
	}
	c.Close()
}

// enter admits a client, unless its user has too many connections already.
func (s *ctlServer) enter(c *net.UnixConn, uid uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, u := range s.conns {
		if u == uid {
			n++
		}
	}
	if s.closed || n >= ctlConnsPerUser {
		return false
	}
	s.conns[c] = uid
	return true
}

func (s *ctlServer) leave(c *net.UnixConn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	c.Close()
}
