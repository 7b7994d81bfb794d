package fs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"hbmfs/fs/beside"
	"hbmfs/fs/mountwatch"
	"hbmfs/transport/limits"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// The socket that hands out region descriptors lives in the mount itself where
// root mounts, so that whoever sees the mount, also from a container, can reach
// it; for others see [ctlServer.bindBeside]. Its directory is in the root and is
// not listed. It is found in every other directory too, unless the source has
// something of that name there: a container may see one of those only.
const (
	ctlDirName  = ".hbmfs"
	ctlSockName = beside.Socket
)

// acceptPause is how long to leave clients waiting when no more can be taken,
// such as for want of descriptors.
const acceptPause = 100 * time.Millisecond

// ctlDir is the unlisted directory. The daemon has its binder make the socket in
// it by bind(2), once, or has it show a link to one; nobody else may make
// anything.
type ctlDir struct {
	fusefs.Inode
	readOnly
	t     *tree
	owner fuse.Owner

	mu     sync.Mutex
	sock   *fusefs.Inode // guarded by mu; the socket's or the link's
	link   string        // guarded by mu; where the link leads, "" for none
	binder *binder       // guarded by mu; who may make sock
}

func newCtlDir(t *tree) *ctlDir {
	return &ctlDir{t: t, owner: fuse.Owner{Uid: uint32(os.Geteuid()), Gid: uint32(os.Getegid())}}
}

// attach makes the directory a child of the mount's root.
func (d *ctlDir) attach(ctx context.Context, root *fusefs.Inode, out *fuse.EntryOut) *fusefs.Inode {
	out.Attr = d.attr()
	out.SetEntryTimeout(nameTimeout)
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

// Lookup finds the socket, or the link to it.
func (d *ctlDir) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if name != ctlSockName || d.sock == nil && d.link == "" {
		return nil, syscall.ENOENT
	}
	if d.sock == nil {
		d.sock = d.NewPersistentInode(ctx, &ctlLink{owner: d.owner, to: d.link}, fusefs.StableAttr{Mode: syscall.S_IFLNK})
	}
	out.Attr = d.sock.Operations().(interface{ attr() fuse.Attr }).attr()
	out.SetEntryTimeout(nameTimeout)
	return d.sock, 0
}

// Ioctl answers INFO.
func (d *ctlDir) Ioctl(_ context.Context, _ fusefs.FileHandle, cmd uint32, _ uint64, in, out []byte) (int32, syscall.Errno) {
	return d.t.ioctlDir(cmd, in, out)
}

// Mknod is the binder's bind(2).
func (d *ctlDir) Mknod(ctx context.Context, name string, mode, _ uint32, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	caller, ok := fuse.FromContext(ctx)
	if !ok || name != ctlSockName || mode&syscall.S_IFMT != syscall.S_IFSOCK || d.sock != nil || !d.binder.owns(caller.Pid) {
		return nil, syscall.EROFS
	}
	ops := &ctlSocket{owner: d.owner}
	d.sock = d.NewPersistentInode(ctx, ops, fusefs.StableAttr{Mode: syscall.S_IFSOCK})
	out.Attr = ops.attr()
	out.SetEntryTimeout(nameTimeout)
	return d.sock, 0
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
	clone    *os.File    // detached clone of the mount; nil if the socket is not in it
	beside   *beside.Dir // of the socket; nil if it is in the mount
	watch    *mountwatch.Watch
	wg       sync.WaitGroup
	ending   sync.Once

	mu     sync.Mutex
	conns  map[*net.UnixConn]*limits.Share // guarded by mu; of each one's user
	closed bool                            // guarded by mu
}

// startCtl binds the socket and serves it: in the mount if inside, and otherwise
// beside it.
func startCtl(mountpoint string, inside bool, t *tree, log *slog.Logger) (s *ctlServer, err error) {
	s = &ctlServer{t: t, log: log, conns: make(map[*net.UnixConn]*limits.Share)}
	if s.watch, err = mountwatch.New(mountpoint); err != nil {
		return nil, err
	}
	if inside {
		err = s.bindInside(mountpoint)
	} else {
		err = s.bindBeside()
	}
	if err != nil {
		s.watch.Close()
		return nil, errors.Join(fmt.Errorf("control socket of %s: %w", mountpoint, err), s.dropPlace())
	}
	s.wg.Go(s.accept)
	go func() {
		s.watch.Wait()
		s.close()
	}()
	return s, nil
}

// close returns once nothing is left of the socket, whoever else closes it: the
// process may end then.
func (s *ctlServer) close() { s.ending.Do(s.end) }

func (s *ctlServer) end() {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.watch.Close()
	s.listener.Close()
	s.wg.Wait()
	if err := s.dropPlace(); err != nil {
		s.log.Warn("close the place of the control socket", "error", err)
	}
}

func (s *ctlServer) accept() {
	for {
		c, err := s.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.t.log.Warn("accept on the control socket", "", "error", err)
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
		s.t.log.Warn("credentials of a client of the control socket", "", "error", err)
	case s.enter(c, uid):
		s.wg.Go(func() { s.serve(c, uid) })
		return
	default:
		_ = send(c, ctlError(syscall.EMFILE), -1)
	}
	c.Close()
}

// enter admits a client, unless its user has too many connections already.
func (s *ctlServer) enter(c *net.UnixConn, uid uint32) bool {
	share, err := s.t.bounds.ctl.Take(userName(uid), 1)
	if err != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		share.Leave()
		return false
	}
	s.conns[c] = share
	return true
}

func (s *ctlServer) leave(c *net.UnixConn) {
	s.mu.Lock()
	s.conns[c].Leave()
	delete(s.conns, c)
	s.mu.Unlock()
	c.Close()
}
