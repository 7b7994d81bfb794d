package fs

import (
	"context"
	"encoding/binary"
	"sync/atomic"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"hbmfs/remote"
	"hbmfs/transport"
)

// versionTimeout is how long the kernel may believe the attributes of a node
// that stands for one version of a file: they never change.
const versionTimeout = time.Hour

// node is what every node of a dataset has: where to find it at the target. A
// directory that was renamed there keeps its node and gets its new path when it
// is looked up by it.
type node struct {
	fusefs.Inode
	readOnly
	t    *tree
	ds   *dataset
	path atomic.Pointer[string]
}

func (n *node) at() string       { return *n.path.Load() }
func (n *node) setPath(p string) { n.path.Store(&p) }
func (n *node) init(t *tree, ds *dataset, path string) {
	n.t, n.ds = t, ds
	n.setPath(path)
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// Statfs reports the source's file system.
func (n *node) Statfs(ctx context.Context, out *fuse.StatfsOut) syscall.Errno {
	s, err := n.t.cfg.Target.Statfs(ctx, n.ds.Name)
	if err != nil {
		return n.t.errno("statfs", n.ds.Name, err)
	}
	*out = fuse.StatfsOut{
		Blocks: s.Blocks, Bfree: s.Bfree, Bavail: s.Bavail, Files: s.Files, Ffree: s.Ffree,
		Bsize: s.Bsize, NameLen: s.Namelen, Frsize: s.Frsize,
	}
	return 0
}

// addChild makes the node for a, or finds the one that stands for the same
// version already, and fills in out.
func (t *tree) addChild(ctx context.Context, parent *fusefs.Inode, ds *dataset, path string, a *remote.Attr, out *fuse.EntryOut) *fusefs.Inode {
	ino := t.ino(ds, a)
	fillAttr(&out.Attr, a, ino)
	id := fusefs.StableAttr{Mode: a.Mode & syscall.S_IFMT, Ino: ino}
	var ops fusefs.InodeEmbedder
	switch id.Mode {
	case syscall.S_IFDIR:
		ops = newDirNode(t, ds, path)
	case syscall.S_IFREG:
		ops = newFileNode(t, ds, path, a, ino)
	default:
		ops = newLeafNode(t, ds, path, a, ino)
	}
	if id.Mode != syscall.S_IFDIR {
		id.Gen = generation(a.Version)
		out.SetAttrTimeout(versionTimeout)
	}
	child := parent.NewInode(ctx, ops, id)
	if n, ok := child.Operations().(interface{ setPath(string) }); ok {
		n.setPath(path)
	}
	return child
}

// generation tells the versions of one inode apart.
func generation(v transport.Version) uint64 { return binary.LittleEndian.Uint64(v[:]) }

func fillAttr(out *fuse.Attr, a *remote.Attr, ino uint64) {
	*out = fuse.Attr{
		Ino: ino, Size: a.Size, Blocks: a.Blocks, Mode: a.Mode, Nlink: a.Nlink,
		Owner: fuse.Owner{Uid: a.UID, Gid: a.GID}, Rdev: uint32(a.Rdev), Blksize: a.Blksize,
	}
	atime, mtime, ctime := time.Unix(0, a.Atime), time.Unix(0, a.Mtime), time.Unix(0, a.Ctime)
	out.SetTimes(&atime, &mtime, &ctime)
}

// leafNode is a symbolic link, or a FIFO, socket or device that is shown and
// cannot be opened.
type leafNode struct {
	node
	attr remote.Attr
	ino  uint64
}

func newLeafNode(t *tree, ds *dataset, path string, a *remote.Attr, ino uint64) *leafNode {
	n := &leafNode{attr: *a, ino: ino}
	n.init(t, ds, path)
	return n
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
