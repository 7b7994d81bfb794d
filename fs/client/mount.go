// Package client is what a Go program uses to get bytes of an hbmfs mount in
// device memory: it opens a file of the mount, fetches a range of it, maps the
// regions that hold the range, and releases it. It is the other side of package
// uapi's ABI, and owns the descriptors and mappings that come with that.
//
// It never copies payload, never reads a file plainly, and starts nothing in the
// background. It knows nothing of targets, caches or the daemon's insides.
//
// A slice that [Mount.Bytes] returned is the mount's memory, not Go's: it is
// valid while the handle that pins it is held and the Mount is open. Touching it
// after [Mount.Close] ends the program; touching it after its handle was
// released shows the bytes of something else.
//
// Locking: all methods may be called concurrently; a [Lease] belongs to one
// goroutine at a time. Mount.mu guards the table of mapped regions and is never
// held over a system call. ctl.mu is held over one request on the control socket
// and its reply, which happens once a region. Neither is taken under the other.
package client

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Mount is an hbmfs mount as this process uses it: the control socket and the
// regions mapped so far, shared by all of its files.
type Mount struct {
	path string // that OpenMount was given, resolved
	root string
	dev  uint64 // st_dev of everything in the mount
	ctl  ctl

	mu      sync.RWMutex // guards what follows
	regions map[uint32][]byte
	closed  bool
}

// OpenMount returns the mount that path lies in. path may be any file or
// directory of it that this process may read. The error wraps [ErrNotHBMFS] if
// path is of another file system. The control socket is connected to when it is
// first needed.
func OpenMount(path string) (*Mount, error) {
	m := &Mount{regions: make(map[uint32][]byte)}
	if err := m.find(path); err != nil {
		return nil, fmt.Errorf("hbmfs: open the mount of %s: %w", path, err)
	}
	m.ctl.dial = m.dialCtl
	return m, nil
}

func (m *Mount) find(path string) error {
	absolute, err := absolutePath(path)
	if err != nil {
		return err
	}
	switch m.path, err = filepath.EvalSymlinks(absolute); {
	case errors.Is(err, unix.ENAMETOOLONG):
		m.path = filepath.Clean(absolute) // which the mount may know all the same
	case err != nil:
		return err // a second try would wait a second time for a target that is away
	}
	if kind, err := kindOf(m.path); err == nil && kind != regularFile && kind != directory {
		m.path = filepath.Dir(m.path) // which a mount can be asked through
	}
	f, st, err := openFileOf(m.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := readInfo(f); err != nil {
		return err
	}
	m.dev = st.Dev
	m.root, err = visibleRoot(m.path, m.dev)
	return err
}

// absolutePath is [filepath.Abs] that leaves "..", behind a symbolic link, to whoever
// follows that.
func absolutePath(path string) (string, error) {
	if filepath.IsAbs(path) {
		return path, nil
	}
	dir, err := unix.Getwd()
	if err != nil {
		return "", os.NewSyscallError("getcwd", err)
	}
	return dir + "/" + path, nil
}

// mountRoot walks up from path while it stays on the device dev.
func mountRoot(path string, dev uint64) (string, error) {
	for {
		parent := filepath.Dir(path)
		if parent == path {
			return path, nil
		}
		var st unix.Stat_t
		if err := unix.Stat(parent, &st); err != nil {
			return "", &os.PathError{Op: "stat", Path: parent, Err: err}
		}
		if st.Dev != dev {
			return path, nil
		}
		path = parent
	}
}

// Root is the directory that the mount is mounted on, or that a directory of it is
// bound to.
func (m *Mount) Root() string { return m.root }

// Info asks the mount what it is.
func (m *Mount) Info() (Info, error) {
	f, st, err := openFileOf(m.path)
	if err != nil {
		return Info{}, fmt.Errorf("hbmfs: info of %s: %w", m.root, err)
	}
	defer f.Close()
	if st.Dev != m.dev {
		return Info{}, fmt.Errorf("hbmfs: info of %s: %w", m.root, errOtherMount)
	}
	info, err := readInfo(f)
	if err != nil {
		return Info{}, fmt.Errorf("hbmfs: info of %s: %w", m.root, err)
	}
	return info, nil
}

// Open opens a regular file of the mount for fetching. path is as for
// [os.Open]; the error wraps [ErrNotHBMFS] if it does not lie in this mount, and
// [ErrNotRegular] if it is a directory or a special file.
func (m *Mount) Open(path string) (*File, error) { return m.openKind(path, regularFile) }

func (m *Mount) openKind(path string, want kind) (*File, error) {
	f, st, err := openFileOf(path)
	if err != nil {
		return nil, fmt.Errorf("hbmfs: %w", err)
	}
	if st.Dev != m.dev {
		f.Close()
		return nil, fmt.Errorf("hbmfs: open %s: %w: it is not in the mount on %s", path, ErrNotHBMFS, m.root)
	}
	if is := kindOfMode(st.Mode); is != want {
		f.Close()
		return nil, errNotOf(path, want, is)
	}
	return &File{path: path, sys: f, mount: m}, nil
}

// Open opens a file of whichever mount it lies in. The mount is opened with it
// and closed by [File.Close]; a program that opens many files of a mount shares
// one [Mount] instead, and with it the mapped regions.
func Open(path string) (*File, error) {
	m, err := OpenMount(path)
	if err != nil {
		return nil, err
	}
	f, err := m.Open(path)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	f.ownsMount = true
	return f, nil
}

// Close unmaps all regions and closes the control socket. Every slice that
// [Mount.Bytes] returned becomes invalid. Files of the mount stay open. It waits
// for what is under way on the control socket, at most for that to time out
// (10 s). A second Close does nothing.
func (m *Mount) Close() error {
	m.mu.Lock()
	regions := m.regions
	m.regions = nil
	m.closed = true
	m.mu.Unlock()
	errs := []error{m.ctl.close()}
	for id, r := range regions {
		if err := unix.Munmap(r); err != nil {
			errs = append(errs, fmt.Errorf("hbmfs: unmap region %d of %s: %w", id, m.root, err))
		}
	}
	return errors.Join(errs...)
}

// openFileOf opens path for ioctls and returns it with what fstat says.
func openFileOf(path string) (f *osFile, st unix.Stat_t, err error) {
	fd, err := openBlocking(path)
	if err != nil {
		return nil, st, &os.PathError{Op: "open", Path: path, Err: explainOpen(path, err)}
	}
	file := os.NewFile(uintptr(fd), path)
	if err := unix.Fstat(fd, &st); err != nil {
		file.Close()
		return nil, st, &os.PathError{Op: "fstat", Path: path, Err: err}
	}
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, st, err
	}
	return &osFile{File: file, raw: raw}, st, nil
}

// openBlocking opens path without waiting for a FIFO's writer. The descriptor
// is made blocking again, since Go's poller would otherwise ask the mount about
// readiness.
func openBlocking(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return -1, err
		}
		if err := unix.SetNonblock(fd, false); err != nil {
			unix.Close(fd)
			return -1, err
		}
		return fd, nil
	}
}
