package fs

import (
	"context"
	"os"
	"sync"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"hbmfs/fs/ctl"
)

// The socket that hands out region descriptors (fs/ctl) lives in the mount itself where
// root mounts, so that whoever sees the mount, also from a container, can reach
// it; for others it is beside it. Its directory is in the root and is
// not listed. It is found in every other directory too, unless the source has
// something of that name there: a container may see one of those only.

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
	binder *ctl.Binder   // guarded by mu; who may make sock
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

// Admit says who may make the socket.
func (d *ctlDir) Admit(b *ctl.Binder) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.binder = b
}

// LeadTo has the directory show a link to a socket elsewhere.
func (d *ctlDir) LeadTo(path string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.link = path
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
	if name != ctl.SocketName || d.sock == nil && d.link == "" {
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
	if !ok || name != ctl.SocketName || mode&syscall.S_IFMT != syscall.S_IFSOCK || d.sock != nil || !d.binder.Owns(caller.Pid) {
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

// ctlLink stands for a socket that is not in the mount.
type ctlLink struct {
	fusefs.Inode
	readOnly
	owner fuse.Owner
	to    string // absolute
}

func (l *ctlLink) attr() fuse.Attr {
	return fuse.Attr{Mode: syscall.S_IFLNK | 0o777, Nlink: 1, Size: uint64(len(l.to)), Owner: l.owner}
}

// Getattr describes the link.
func (l *ctlLink) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Attr = l.attr()
	return 0
}

// Readlink says where the socket is.
func (l *ctlLink) Readlink(context.Context) ([]byte, syscall.Errno) { return []byte(l.to), 0 }
