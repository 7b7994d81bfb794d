// Package fs is the mount: FUSE nodes over a target's datasets, plain reads as
// host copies, and the ioctls that hand out device buffer handles (fs/uapi).
// It is the only package that knows FUSE, and the only one that maps errors to
// errno (errno.go).
//
// It never talks to the network or to device memory itself: remote fetches,
// cache holds. A node stands for one version of one file, so that the kernel's
// page cache never mixes two; a file that changed is a new node. The kernel asks
// before it uses what it keeps of an open file, as soon as that can't be vouched
// for, and the daemon sends it no notification that could wait for a request.
//
// No thread of the process waits in the kernel for its own mount: it could not
// be killed. Nothing here resolves a path below the mount point; what needs one,
// the control socket's bind, another process does (fs/ctl).
//
// Files of a batch on a directory are no open files of the kernel's: package byname
// makes the checks that it would, and they are closed once their bytes are there.
//
// Locking: what a handle pins is in a pins.Table, whose lock is not held over a fetch.
// Nodes are immutable but for their path, which is an atomic.
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
	"hbmfs/fs/ctl"
	"hbmfs/fs/mountwatch"
)

// Type is what mount tables call an hbmfs mount: "fuse.hbmfs".
const Type = "hbmfs"

const (
	// maxRead is the largest READ that the kernel sends, in bytes.
	maxRead = 1 << 20
	// readAhead is the kernel's window, in bytes: what a touch of a mapped file
	// brings. Package readahead goes on where there is a sequence.
	readAhead = 1 << 20
	// nameTimeout is how long the kernel may believe a name or a directory's
	// attributes, unless Config.NameTimeout says more. Opening a file asks the target
	// whatever the kernel believes.
	nameTimeout = time.Second
	// maxBackground lets reads and releases pass a few stalled reads.
	maxBackground = 1024
	// unmountGrace is how long Unmount waits for a busy mount before it
	// detaches it.
	unmountGrace = 400 * time.Millisecond
)

// ErrMount: the kernel or fusermount3 refused the mount itself.
var ErrMount = errors.New("can't mount")

// Config says what to mount.
type Config struct {
	Cache *cache.Cache
	// Dataset is the one to show; "" shows all of the target's, a directory each.
	Dataset string
	// Source is the file system's name in mount tables.
	Source string
	// Extent is the cache's, in bytes.
	Extent int64
	// AllowOther lets users other than the daemon's use the mount.
	AllowOther bool
	// ExportDMABuf lets users have the dma-bufs of their regions, which they can write.
	ExportDMABuf bool
	// NoExec keeps everybody from executing the mount's files.
	NoExec bool
	// NameTimeout is for how long names don't change, as who mounts vouches: that long
	// they are believed, and files opened by them that are still open at the target.
	// Less than a second means that nobody vouches.
	NameTimeout time.Duration
	// Strict refuses to fetch what may have changed unnoticed; plain reads of
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
	ctl        *ctl.Server
	tree       *tree
	gone       chan struct{} // closed when the FUSE session has ended
	closeOnce  sync.Once
}

// Mount mounts what target has at mountpoint and returns when the mount answers.
// The error may wrap [ErrMount].
func Mount[F File](mountpoint string, target Target[F], cfg Config) (*Server, error) {
	t, root, err := newTree(target, openerOf(target), reopenerOf(target), cfg)
	if err != nil {
		return nil, err
	}
	return mount(mountpoint, t, root)
}

func mount(mountpoint string, t *tree, root fusefs.InodeEmbedder) (*Server, error) {
	srv, err := serve(mountpoint, root, options(t.cfg, t.root))
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w", mountpoint, err)
	}
	s := &Server{cfg: t.cfg, mountpoint: mountpoint, tree: t, gone: make(chan struct{})}
	go func() { srv.Wait(); close(s.gone) }()
	if err := s.start(); err != nil {
		return nil, errors.Join(err, s.Unmount())
	}
	return s, nil
}

// serve mounts root and serves it. It leaves out fuse.Server.WaitMount, which
// opens a file of the mount: on Linux the mount is there already.
func serve(mountpoint string, root fusefs.InodeEmbedder, o *fusefs.Options) (*fuse.Server, error) {
	_, _ = lookUpFusermount() // not when its place may be in the mount; [fusermount] tells if there is none
	srv, err := fuse.NewServer(fusefs.NewNodeFS(root, o), mountpoint, &o.MountOptions)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMount, err)
	}
	go srv.Serve()
	return srv, nil
}

func (s *Server) start() error {
	if err := ctl.CloseOnExec(); err != nil {
		return err
	}
	if err := mountwatch.SetReadAhead(s.mountpoint, readAhead); err != nil {
		s.cfg.Log.Warn("buffered reads keep the kernel's default read-ahead and will be slower over a network",
			"error", err, "remedy", "mount as root, or set read_ahead_kb of the mount's bdi")
	}
	direct := mountsItself()
	socket, err := startCtl(s.mountpoint, direct, s.tree, s.cfg.Log)
	if err != nil {
		return err
	}
	s.ctl = socket
	if !direct {
		return nil
	}
	if err := remountReadOnly(s.mountpoint, s.cfg.NoExec); err != nil {
		s.cfg.Log.Warn("the mount does not say that it is read-only; writes are refused all the same", "error", err)
	}
	return nil
}

// mountsItself reports whether this process calls mount(2), and not fusermount3.
func mountsItself() bool { return os.Geteuid() == 0 }

func options(cfg Config, root fusefs.StableAttr) *fusefs.Options {
	never := time.Duration(0)
	kernel := []string{"default_permissions"}
	if cfg.NoExec {
		kernel = append(kernel, "noexec")
	}
	if !mountsItself() {
		kernel = append(kernel, "ro")
	}
	return &fusefs.Options{
		NegativeTimeout: &never,
		NullPermissions: true,
		RootStableAttr:  &root,
		MountOptions: fuse.MountOptions{
			AllowOther:           cfg.AllowOther,
			Options:              kernel,
			MaxBackground:        maxBackground,
			MaxWrite:             maxRead,
			FsName:               cfg.Source,
			Name:                 Type,
			DisableSplice:        true,
			EnableSymlinkCaching: true,
			DirectMountStrict:    mountsItself(),
			ExtraCapabilities:    fuse.CAP_ASYNC_DIO | fuse.CAP_DIRECT_IO_ALLOW_MMAP | fuse.CAP_PARALLEL_DIROPS,
		},
	}
}

// remountReadOnly makes the visible mount read-only. It comes after the socket
// was made, which needs a mount that is not.
func remountReadOnly(mountpoint string, noExec bool) error {
	flags := uintptr(unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV)
	if noExec {
		flags |= unix.MS_NOEXEC
	}
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
		s.tree.buffers.Close()
		if s.ctl != nil {
			s.ctl.Close()
		}
		s.tree.found.Close()
		s.tree.log.Close()
	})
}
