package client

import (
	"errors"
	"fmt"
	"syscall"
)

// Errors of this package. What the mount answers is wrapped as the
// [syscall.Errno] that hbmfs.h lists for the call: errors.Is(err,
// syscall.ESTALE) tells that a file changed.
var (
	// ErrNotHBMFS: the path is not in an hbmfs mount, or not in this one.
	ErrNotHBMFS = errors.New("not an hbmfs mount")
	// ErrNotRegular: what was opened is in a mount, and has no ranges to fetch.
	ErrNotRegular = errors.New("not a regular file")
	// ErrClosed: the file or the mount was closed by this process.
	ErrClosed = errors.New("already closed")
	// ErrProtocol: the mount answered something that the ABI does not allow.
	ErrProtocol = errors.New("the mount broke the ABI")
)

var errOtherMount = fmt.Errorf("%w any more: another file system is mounted there now; open it again", ErrNotHBMFS)

// remedies says, of what a mount answers to an ioctl, what it means and what to
// do; EMFILE is the control socket's.
var remedies = map[syscall.Errno]string{
	syscall.E2BIG:        "the mount is older than this program, and does not know what it asks for; mount with a newer hbmfs",
	syscall.EACCES:       "the mount is for the user who mounted only; mount with --allow-other",
	syscall.EAGAIN:       "the mount is strict, and a writer has the file open, or the target does not answer; try again when that is over",
	syscall.ECONNABORTED: "the mount's daemon ended; mount again and open the file again",
	syscall.EDQUOT:       "as many fetches of this user wait for room as may; release some handles, or ask for fewer at a time",
	syscall.EINVAL:       "the range is negative or too long, or a digest's is not within the file, or the flags are both random and sequential",
	syscall.EIO:          "the target failed or did not answer; the mount's log says which",
	syscall.EISDIR:       "only regular files have ranges",
	syscall.EMFILE:       "this user has as many connections to the mount's control socket as may be; close some",
	syscall.ENFILE:       "the target has no descriptors left for more files, or this host has none; the mount's log says which",
	syscall.ENODEV:       "the mount has no such device, or lost it; Info lists them",
	syscall.ENOENT:       "this open file has no such handle",
	syscall.ENOMEM:       "there is no memory for this user's pool; the mount's log says why",
	syscall.ENOSPC:       "too much is pinned or lent for the range to fit, or others wait for the room; release a handle, unpin files, ask for less, or wait",
	syscall.ENOTCONN:     "the mount's daemon is gone; mount again and open the file again",
	syscall.ENOTTY:       "the file is not of an hbmfs mount that knows this call",
	syscall.EREMOTEIO:    "the bytes took a fallback, and the mount requires a direct path; Info says what is not usable",
	syscall.ESTALE:       "the file changed since it was opened; open it again",
}

// entryRemedies are those of an entry of a batch, where they are others.
var entryRemedies = map[syscall.Errno]string{
	syscall.EACCES:       "its directories may not be searched, or the file may not be read, or that can't be decided here: open it by its path",
	syscall.EINVAL:       "the range is negative or too long, or the name has an empty component or \".\"",
	syscall.EISDIR:       "it is a directory",
	syscall.ELOOP:        "too many symbolic links",
	syscall.ENAMETOOLONG: "a component may have 255 bytes, and the name 4095",
	syscall.ENOENT:       "there is no such file",
	syscall.ENOTDIR:      "one of its components is no directory",
	syscall.ENXIO:        "only regular files have ranges",
	syscall.ESTALE:       "the file changes again and again; try later",
}

// batchRemedies are likewise those of a whole batch.
var batchRemedies = map[syscall.Errno]string{
	syscall.EACCES:     "the mount can't tell who calls (PID name space, hidepid of /proc, user name space): open the files instead",
	syscall.EINVAL:     "the flags are both random and sequential, or a range of an open file has a name",
	syscall.EOPNOTSUPP: "the directory is above all datasets, or .hbmfs: open one of a dataset",
	syscall.ESTALE:     "the directory was replaced by another; open it again",
}

// ringRemedies are likewise those of an operation of a ring, which does not say which.
var ringRemedies = map[syscall.Errno]string{
	syscall.EBADF:      "the file is not registered with the ring, or was closed",
	syscall.ECANCELED:  "it was cancelled",
	syscall.EINVAL:     "the range is negative or too long, or the name has an empty component or \".\", or is of a file that is no directory",
	syscall.EISDIR:     "a directory; name a file beneath it",
	syscall.ENOENT:     "there is no such file, or the ring has no such handle, or no such operation is under way",
	syscall.ENOTTY:     "the mount does not know this operation; mount with a newer hbmfs",
	syscall.EOPNOTSUPP: "the mount does not serve this operation; mount with a newer hbmfs",
}

// ringRequestRemedies are those of what makes a ring, or registers a file with one.
var ringRequestRemedies = map[syscall.Errno]string{
	syscall.EACCES:     "the ring is another user's",
	syscall.EDQUOT:     "this user has as many rings as may be; close some",
	syscall.EINVAL:     "the entries of a ring are a power of two up to 4096, and all of its names have 1 MiB",
	syscall.ENFILE:     "the ring has as many files as may be, or the daemon has no descriptors left for it",
	syscall.ENOENT:     "the ring has ended",
	syscall.ENOTTY:     "the mount does not know rings; mount with a newer hbmfs",
	syscall.EOPNOTSUPP: "the directory is above all datasets, or .hbmfs: open one of a dataset",
}

// explainRing is explain of an operation of a ring.
func explainRing(errno syscall.Errno) error {
	others := ringRemedies
	if _, ok := others[errno]; !ok {
		others = entryRemedies
	}
	return explainBy(others, errno)
}

// explain adds its remedy to an errno that a mount answered.
func explain(errno syscall.Errno) error { return explainBy(nil, errno) }

// explainBy is explain where some have other remedies.
func explainBy(others map[syscall.Errno]string, errno syscall.Errno) error {
	remedy, ok := others[errno]
	if !ok {
		remedy, ok = remedies[errno]
	}
	if !ok {
		return errno
	}
	return fmt.Errorf("%w: %s", errno, remedy)
}
