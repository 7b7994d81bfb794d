package fs

import (
	"context"
	"syscall"

	"hbmfs/fs/ctl"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// ctlAlias is the socket's directory as it is found below the mount's root. It is
// a directory of its own, since the kernel lets none be in two places, and has
// the same socket in it.
type ctlAlias struct {
	fusefs.Inode
	readOnly
	dir *ctlDir
}

// alias finds the directory in parent.
func (d *ctlDir) alias(ctx context.Context, parent *fusefs.Inode, out *fuse.EntryOut) *fusefs.Inode {
	out.Attr = d.attr()
	out.SetEntryTimeout(nameTimeout)
	if known := parent.GetChild(ctl.DirName); known != nil {
		if _, ok := known.Operations().(*ctlAlias); ok {
			return known
		}
	}
	return parent.NewInode(ctx, &ctlAlias{dir: d}, fusefs.StableAttr{Mode: syscall.S_IFDIR})
}

// Getattr describes the directory.
func (a *ctlAlias) Getattr(ctx context.Context, f fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	return a.dir.Getattr(ctx, f, out)
}

// Lookup finds the socket.
func (a *ctlAlias) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	return a.dir.Lookup(ctx, name, out)
}

// Ioctl answers INFO.
func (a *ctlAlias) Ioctl(ctx context.Context, f fusefs.FileHandle, cmd uint32, arg uint64, in, out []byte) (int32, syscall.Errno) {
	return a.dir.Ioctl(ctx, f, cmd, arg, in, out)
}
