package dir

import (
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// ownMount is the file system that the process of a target shows what it serves
// in, if it does. It can lie in what is served, as where / is mounted on /mnt/x. A
// thread of the process that looked into it would wait for the process itself, and
// could not be killed. So it is not there for the target.
type ownMount struct {
	dev atomic.Uint64 // 0: there is none
}

// own is this process's.
var own ownMount

// Hide keeps the targets of this process out of the file system with a device
// number, as [unix.Mkdev] makes it: names that lead there don't exist.
func Hide(dev uint64) { own.dev.Store(dev) }

// openat2 is openat2(2) that finds nothing in the own mount. how resolves no
// links and stays beneath dir.
func (o *ownMount) openat2(dir int, path string, how unix.OpenHow) (int, error) {
	if o.dev.Load() == 0 {
		return unix.Openat2(dir, path, &how)
	}
	near := how
	near.Resolve |= unix.RESOLVE_NO_XDEV
	fd, err := unix.Openat2(dir, path, &near)
	if err != unix.EXDEV {
		return fd, err
	}
	return o.walk(dir, path, how)
}

// walk goes one name at a time, since it looks at each mount that it comes to.
func (o *ownMount) walk(dir int, path string, how unix.OpenHow) (int, error) {
	step := unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: how.Resolve}
	at := dir
	for name := range strings.SplitSeq(path, "/") {
		fd, err := unix.Openat2(at, name, &step)
		if at != dir {
			unix.Close(at)
		}
		if err != nil {
			return -1, err // EINTR too: it starts anew
		}
		if o.is(fd, "", unix.AT_EMPTY_PATH) {
			unix.Close(fd)
			return -1, unix.ENOENT
		}
		at = fd
	}
	if how.Flags&unix.O_PATH != 0 {
		return at, nil
	}
	defer unix.Close(at)
	return unix.Openat2(at, ".", &how)
}

// hides reports whether name in the directory dir is the own mount.
func (o *ownMount) hides(dir int, name string) bool {
	return o.dev.Load() != 0 && o.is(dir, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT)
}

// is asks the kernel alone for the device number, and not the file system.
func (o *ownMount) is(dir int, name string, flags int) bool {
	var st unix.Statx_t
	err := unix.Statx(dir, name, flags|unix.AT_STATX_DONT_SYNC, 0, &st)
	return err == nil && unix.Mkdev(st.Dev_major, st.Dev_minor) == o.dev.Load()
}
