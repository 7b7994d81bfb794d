// Package fs is the mount: FUSE nodes over a target's datasets, plain reads as
// host copies, and the ioctls that hand out device buffer handles (fs/uapi).
// It is the only package that knows FUSE, and the only one that maps errors to
// errno (errno.go).
//
// It never talks to the network or to device memory itself: remote fetches,
// cache holds. A node stands for one version of one file, so that the kernel's
// page cache never mixes two; a file that changed is a new node.
//
// Locking: a handle's mutex guards its table of leases and loans, and is not
// held over a fetch. Nodes are immutable but for their path, which is an atomic.
package fs

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"hbmfs/cache"
	"hbmfs/remote"
)

// Type is what mount tables call an hbmfs mount: "fuse.hbmfs".
const Type = "hbmfs"

const (
	// maxRead is the largest READ that the kernel sends, in bytes.
	maxRead = 1 << 20
	// readAhead is the kernel's window for buffered sequential readers, in
	// bytes: enough to hide a round trip of milliseconds at several GB/s.
	readAhead = 8 << 20
	// nameTimeout is how long the kernel may believe a name or a directory's
	// attributes. Opening a file asks the target whatever the kernel believes.
	nameTimeout = time.Second
	// maxBackground lets reads and releases pass a few stalled reads.
	maxBackground = 1024
	// unmountGrace is how long Unmount waits for a busy mount before it
	// detaches it.
	unmountGrace = 2 * time.Second
)

// Config says what to mount.
type Config struct {
	Target *remote.Target
	Cache  *cache.Cache
	// Dataset is the one to show; "" shows all of the target's, a directory each.
	Dataset string
	// Source is the file system's name in mount tables.
	Source string
	// Device is the name of the cache's device; CPUDevice says that the CPU can
	// address its memory.
	Device    string
	CPUDevice bool
	// Pool (for each user) and Extent are the cache's sizes in bytes.
	Pool, Extent int64
	// AllowOther lets users other than the daemon's use the mount.
	AllowOther bool
	// Strict refuses to fetch files that a writer may have open; plain reads of
	// them work.
	Strict bool
	// RequireDirect refuses bytes that passed through host memory.
	RequireDirect bool
	// Checksums says that payload is checked on arrival.
	Checksums bool
	Version   string
	Log       *slog.Logger
}

// Server is a mounted file system.
type Server struct {
	cfg        Config
	mountpoint string
	fuse       *fuse.Server
	ctl        *ctlServer
	tree       *tree
	gone       chan struct{} // closed when the FUSE session has ended
	closeOnce  sync.Once
}

// Mount mounts cfg at mountpoint and returns when the mount answers.
func Mount(mountpoint string, cfg Config) (*Server, error) {
	t, root, err := newTree(cfg)
	if err != nil {
		return nil, err
	}
	srv, err := fusefs.Mount(mountpoint, root, options(cfg, t.rootIno))
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w", mountpoint, err)
	}
	s := &Server{cfg: cfg, mountpoint: mountpoint, fuse: srv, tree: t, gone: make(chan struct{})}
	go func() { srv.Wait(); close(s.gone) }()
	if err := s.start(); err != nil {
		return nil, errors.Join(err, s.Unmount())
	}
	return s, nil
}

func (s *Server) start() error {
	if err := s.fuse.WaitMount(); err != nil {
		return fmt.Errorf("mount %s: %w", s.mountpoint, err)
	}
	if err := setReadAhead(s.mountpoint, readAhead); err != nil {
		s.cfg.Log.Warn("buffered reads keep the kernel's default read-ahead and will be slower over a network",
			"error", err, "remedy", "mount as root, or set read_ahead_kb of the mount's bdi")
	}
	ctl, err := startCtl(s.mountpoint, s.tree, s.cfg.Log)
	if err != nil {
		return err
	}
	s.ctl = ctl
	if err := remountReadOnly(s.mountpoint); err != nil {
		s.cfg.Log.Debug("the mount's own read-only flag is not set; writes are refused all the same", "error", err)
	}
	return nil
}

func options(cfg Config, rootIno uint64) *fusefs.Options {
	timeout, never := nameTimeout, time.Duration(0)
	return &fusefs.Options{
		EntryTimeout:    &timeout,
		AttrTimeout:     &timeout,
		NegativeTimeout: &never,
		NullPermissions: true,
		RootStableAttr:  &fusefs.StableAttr{Ino: rootIno},
		MountOptions: fuse.MountOptions{
			AllowOther:           cfg.AllowOther,
			Options:              []string{"default_permissions"},
			MaxBackground:        maxBackground,
			MaxWrite:             maxRead,
			FsName:               cfg.Source,
			Name:                 Type,
			DisableXAttrs:        true,
			DisableSplice:        true,
			EnableSymlinkCaching: true,
			DirectMount:          os.Geteuid() == 0,
			ExtraCapabilities:    fuse.CAP_ASYNC_DIO | fuse.CAP_DIRECT_IO_ALLOW_MMAP | fuse.CAP_PARALLEL_DIROPS,
		},
	}
}

// remountReadOnly makes the visible mount read-only. It comes after the socket
// was made, which needs a mount that is not.
func remountReadOnly(mountpoint string) error {
	const flags = unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV
	return unix.Mount("", mountpoint, "", flags, "")
}

// Wait returns once the file system is unmounted, by whomever, and its socket
// is closed.
func (s *Server) Wait() {
	<-s.gone
	s.closeCtl()
}

// Unmount unmounts the file system. While it is in use, Unmount waits a little
// and then detaches it: it disappears from the name space at once, and those who
// use it, there or where it was mounted a second time, get ENOTCONN when the
// process ends.
func (s *Server) Unmount() error {
	s.closeCtl()
	grace := time.NewTimer(unmountGrace)
	defer grace.Stop()
	err := s.tryUnmount(grace.C)
	if errors.Is(err, unix.EBUSY) {
		s.cfg.Log.Warn("the mount is in use; detaching it", "mountpoint", s.mountpoint)
		if err = Detach(s.mountpoint, unix.MNT_DETACH); err == nil {
			return nil
		}
	}
	if err != nil && !s.ended() {
		return fmt.Errorf("unmount %s: %w", s.mountpoint, err)
	}
	select {
	case <-s.gone:
	case <-grace.C:
	}
	return nil
}

// tryUnmount tries until the mount is not busy, or the time is over.
func (s *Server) tryUnmount(over <-chan time.Time) error {
	for wait := 10 * time.Millisecond; ; wait *= 2 {
		err := Detach(s.mountpoint, 0)
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		select {
		case <-s.gone:
			return nil
		case <-over:
			return err
		case <-time.After(wait):
		}
	}
}

func (s *Server) ended() bool {
	select {
	case <-s.gone:
		return true
	default:
		return false
	}
}

func (s *Server) closeCtl() {
	s.closeOnce.Do(func() {
		if s.ctl != nil {
			s.ctl.close()
		}
	})
}
