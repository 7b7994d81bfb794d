package fs

import (
	"context"
	"syscall"

	"hbmfs/fs/ctl"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// rootMode is that of directories that exist only in the mount.
const rootMode = syscall.S_IFDIR | 0o555

// datasetsRoot is the top of a mount of all of a target's datasets: a directory
// each.
type datasetsRoot struct {
	fusefs.Inode
	readOnly
	t   *tree
	all []*dataset
}

// Getattr describes a directory that nobody can write.
func (r *datasetsRoot) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Attr = fuse.Attr{Mode: rootMode, Nlink: uint32(2 + len(r.all))}
	out.SetTimeout(nameTimeout)
	return 0
}

// Lookup finds a dataset by its name.
func (r *datasetsRoot) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	if name == ctl.DirName {
		return r.t.ctlDir.attach(ctx, &r.Inode, out), 0
	}
	for _, d := range r.all {
		if d.Name != name {
			continue
		}
		if err := r.t.openTop(ctx, d); err != nil {
			return nil, r.t.errno("lookup", name, err)
		}
		top := d.topAttr()
		fillAttr(&out.Attr, d.top.last.Load(), top.Ino)
		out.SetEntryTimeout(r.t.nameTimeout())
		out.SetAttrTimeout(nameTimeout)
		return r.NewPersistentInode(ctx, d.top, top), 0
	}
	return nil, syscall.ENOENT
}

// Readdir lists the datasets.
func (r *datasetsRoot) Readdir(context.Context) (fusefs.DirStream, syscall.Errno) {
	entries := make([]fuse.DirEntry, 0, len(r.all))
	for _, d := range r.all {
		entries = append(entries, fuse.DirEntry{Name: d.Name, Mode: syscall.S_IFDIR})
	}
	return fusefs.NewListDirStream(entries), 0
}

// Statfs has only a name length to tell: each dataset has its own space.
func (r *datasetsRoot) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	*out = fuse.StatfsOut{Bsize: 4096, Frsize: 4096, NameLen: 255}
	return 0
}

// Ioctl answers INFO.
func (r *datasetsRoot) Ioctl(_ context.Context, _ fusefs.FileHandle, cmd uint32, _ uint64, in, out []byte) (int32, syscall.Errno) {
	return r.t.ioctlDir(cmd, in, out)
}
