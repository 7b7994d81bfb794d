package fs

import (
	"context"
	"encoding/binary"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"hbmfs/remote/namespace"
	"hbmfs/transport"
)

// versionTimeout is how long the kernel may believe the attributes of a node
// that stands for one version of what can't be opened: they never change.
const versionTimeout = time.Hour

// node is what every node of a dataset has.
type node struct {
	fusefs.Inode
	readOnly
	t  *tree
	ds *dataset
}

// at is where the target has the node: by the name that it was last looked up
// by, since what was renamed there keeps its node.
func (n *node) at() string { return n.Path(&n.ds.top.Inode) }

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// Statfs reports the source's file system.
func (n *node) Statfs(ctx context.Context, out *fuse.StatfsOut) syscall.Errno {
	s, err := n.t.target.Statfs(ctx, n.ds.Name)
	if err != nil {
		return n.t.errno("statfs", n.ds.Name, err)
	}
	*out = fuse.StatfsOut{
		Blocks: s.Blocks, Bfree: s.Bfree, Bavail: s.Bavail, Files: s.Files, Ffree: s.Ffree,
		Bsize: s.Bsize, NameLen: s.Namelen, Frsize: s.Frsize,
	}
	return 0
}

// addChild makes a node for a, which was age old when it came, and fills in out.
// go-fuse takes the node that stands for the same version already in its place,
// if there is one.
func (n *node) addChild(ctx context.Context, a *namespace.Attr, age time.Duration, out *fuse.EntryOut) *fusefs.Inode {
	n.t.believe(out, age)
	ino := n.t.ino(n.ds, a)
	fillAttr(&out.Attr, a, ino)
	id := fusefs.StableAttr{Mode: a.Mode & syscall.S_IFMT, Ino: ino}
	var ops fusefs.InodeEmbedder
	switch id.Mode {
	case syscall.S_IFDIR:
		ops = &dirNode{node: node{t: n.t, ds: n.ds}}
	case syscall.S_IFREG:
		ops = &fileNode{node: node{t: n.t, ds: n.ds}, attr: *a, ino: ino}
	default:
		ops = &leafNode{node: node{t: n.t, ds: n.ds}, attr: *a, ino: ino}
	}
	switch id.Mode {
	case syscall.S_IFDIR:
	case syscall.S_IFREG:
		id.Gen = generation(a.Version)
		out.SetAttrTimeout(n.t.believeFor(ops.(*fileNode).key()))
	default:
		id.Gen = generation(a.Version)
		out.SetAttrTimeout(versionTimeout)
	}
	return n.NewInode(ctx, ops, id)
}

// nameTimeout is for how long the kernel may believe names.
func (t *tree) nameTimeout() time.Duration { return max(nameTimeout, t.cfg.NameTimeout) }

// believe lets the kernel believe a name and attributes until they are as old as
// that.
func (t *tree) believe(out *fuse.EntryOut, age time.Duration) {
	left := max(t.nameTimeout()-age, 0)
	out.SetEntryTimeout(left)
	out.SetAttrTimeout(left)
}

// generation tells the versions of one inode apart.
func generation(v transport.Version) uint64 { return binary.LittleEndian.Uint64(v[:]) }

func fillAttr(out *fuse.Attr, a *namespace.Attr, ino uint64) {
	*out = fuse.Attr{
		Ino: ino, Size: a.Size, Blocks: a.Blocks, Mode: a.Mode, Nlink: a.Nlink,
		Owner: fuse.Owner{Uid: a.UID, Gid: a.GID}, Rdev: uint32(a.Rdev), Blksize: a.Blksize,
	}
	// The kernel takes the seconds for signed ones.
	out.Atime, out.Atimensec = uint64(a.Atime.Sec), a.Atime.Nsec
	out.Mtime, out.Mtimensec = uint64(a.Mtime.Sec), a.Mtime.Nsec
	out.Ctime, out.Ctimensec = uint64(a.Ctime.Sec), a.Ctime.Nsec
}

// leafNode is a symbolic link, or a FIFO, socket or device: the kernel opens the
// mount's own of that kind, if any, and the target's is out of reach.
type leafNode struct {
	node
	attr namespace.Attr
	ino  uint64
}

// Getattr never asks the target: the node is one version.
func (n *leafNode) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	fillAttr(&out.Attr, &n.attr, n.ino)
	out.SetTimeout(versionTimeout)
	return 0
}

// Readlink returns what the target said with the attributes.
func (n *leafNode) Readlink(context.Context) ([]byte, syscall.Errno) {
	if n.attr.Mode&syscall.S_IFMT != syscall.S_IFLNK {
		return nil, syscall.EINVAL
	}
	return []byte(n.attr.Symlink), 0
}
