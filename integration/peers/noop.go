package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// noopCommand makes the bench serve a mount whose only file has ioctls that do
// nothing: what the kernel and go-fuse cost by themselves. It runs in a process
// of its own, as hbmfs does.
const noopCommand = "serve-noop"

// serveNoop mounts at dir and returns once it is unmounted, which the end of ctx
// does too.
func serveNoop(ctx context.Context, dir string) error {
	srv, err := fusefs.Mount(dir, &noopRoot{}, noopOptions())
	if err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	defer context.AfterFunc(ctx, func() { _ = srv.Unmount() })() // else the bench unmounts
	srv.Wait()
	return nil
}

// noopOptions are those that hbmfs mounts with.
func noopOptions() *fusefs.Options {
	return &fusefs.Options{
		NullPermissions: true,
		MountOptions: fuse.MountOptions{
			Options:              []string{"default_permissions"},
			MaxBackground:        1024,
			MaxWrite:             1 << 20,
			FsName:               "noop",
			Name:                 "noop",
			DisableXAttrs:        true,
			DisableSplice:        true,
			EnableSymlinkCaching: true,
			DirectMount:          true,
			ExtraCapabilities:    fuse.CAP_ASYNC_DIO | fuse.CAP_DIRECT_IO_ALLOW_MMAP | fuse.CAP_PARALLEL_DIROPS,
		},
	}
}

// noopRoot is a directory with one file.
type noopRoot struct{ fusefs.Inode }

func (r *noopRoot) OnAdd(ctx context.Context) {
	child := r.NewPersistentInode(ctx, &noopFile{}, fusefs.StableAttr{Mode: syscall.S_IFREG, Ino: 2})
	r.AddChild(fileName, child, false)
}

// noopFile's open files answer every ioctl at once.
type noopFile struct{ fusefs.Inode }

func (*noopFile) Open(context.Context, uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	return noopHandle{}, fuse.FOPEN_KEEP_CACHE, 0
}

type noopHandle struct{}

func (noopHandle) Ioctl(context.Context, uint32, uint64, []byte, []byte) (int32, syscall.Errno) {
	return 0, 0
}

// mountNoop starts the no-op mount in a process of its own and opens its file.
func (s *stage) mountNoop(ctx context.Context) (*os.File, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, unmount, err := s.mount(ctx, self, func(dir string) []string { return []string{noopCommand, dir} })
	if err != nil {
		return nil, err
	}
	s.undo.add(unmount)
	f, err := os.Open(filepath.Join(dir, fileName))
	if err != nil {
		return nil, err
	}
	s.undo.add(f.Close)
	return f, nil
}
