// Package noop is a FUSE file system that does nothing: what the kernel and go-fuse
// cost by themselves, for `make bench` to measure hbmfs beside.
//
// It owns the mount that [Serve] makes. It holds no state, and no lock.
package noop

import (
	"context"
	"fmt"
	"strconv"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"hbmfs/fs/uapi"
	"hbmfs/integration/peers/load"
)

// Command makes the bench, which passes its other arguments to [Serve], serve a mount that has a file with ioctls that do
// nothing, and as many files as it is told that answer a client's ioctls with
// constants: what the kernel and go-fuse cost by themselves. It runs in a process
// of its own, as hbmfs does.
const Command = "serve-noop"

// Serve mounts at a directory, with so many files if there is a second
// argument, and returns once it is unmounted, which the end of ctx does too.
func Serve(ctx context.Context, args []string) (err error) {
	dir, root := args[0], &noopRoot{}
	if len(args) > 1 {
		if root.files, err = strconv.Atoi(args[1]); err != nil {
			return err
		}
	}
	srv, err := fusefs.Mount(dir, root, options())
	if err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	defer context.AfterFunc(ctx, func() { _ = srv.Unmount() })() // else the bench unmounts
	srv.Wait()
	return nil
}

// options are those that hbmfs mounts with.
func options() *fusefs.Options {
	timeout := time.Second
	return &fusefs.Options{
		EntryTimeout:    &timeout,
		AttrTimeout:     &timeout,
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

// noopRoot is a directory with the no-op file, and those of a dataset of so many.
type noopRoot struct {
	fusefs.Inode
	files int
}

func (r *noopRoot) OnAdd(ctx context.Context) {
	child := r.NewPersistentInode(ctx, &noopFile{}, fusefs.StableAttr{Mode: syscall.S_IFREG, Ino: 2})
	r.AddChild(load.File, child, false)
	for i := range r.files {
		child := r.NewPersistentInode(ctx, &answeringFile{}, fusefs.StableAttr{Mode: syscall.S_IFREG, Ino: uint64(3 + i)})
		r.AddChild(load.Name(i), child, false)
	}
}

// Ioctl answers INFO, which a client asks a mount's root.
func (*noopRoot) Ioctl(_ context.Context, _ fusefs.FileHandle, _ uint32, _ uint64, _, out []byte) (int32, syscall.Errno) {
	uapi.EncodeInfo(out, &uapi.Info{Size: uint32(len(out)), ABIVersion: uapi.ABIVersion})
	return 0, 0
}

// answeringFile's open files answer every FETCH with one segment.
type answeringFile struct{ fusefs.Inode }

func (*answeringFile) Open(context.Context, uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	return answeringHandle{}, fuse.FOPEN_KEEP_CACHE, 0
}

type answeringHandle struct{}

func (answeringHandle) Ioctl(_ context.Context, _ uint32, _ uint64, _, out []byte) (int32, syscall.Errno) {
	f := uapi.Fetch{Size: uint32(uapi.FetchSize), SegmentCount: 1, Handle: 1, Fetched: load.LeastSize, FileSize: load.LeastSize, Path: uint32(uapi.PathStaged)}
	uapi.EncodeFetch(out, &f)
	uapi.EncodeSegment(out, &f, 0, uapi.Segment{Length: load.LeastSize, Path: uint16(uapi.PathStaged), Flags: uapi.SegmentHit})
	return 0, 0
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
