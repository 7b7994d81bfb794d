package dir

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"hbmfs/transport/probe"
)

// Probe tries what a store needs of the kernel, and of the file system of temporary
// files.
func Probe() []probe.Finding {
	return []probe.Finding{
		probe.Of("target", "openat2", "run targets on Linux 5.6 or later, and allow openat2 in the seccomp filter", tryBeneath),
		probe.Of("target", "read lease", "serve from a local file system: without leases every file counts as unsettled", tryTempLease),
		probe.Of("target", "delegation", "run targets on Linux 6.19 or later, or else each open of a file by a mount costs a message", tryTempDelegation),
	}
}

func tryBeneath() (string, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, ".", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH})
	if err != nil {
		return "", os.NewSyscallError("openat2", err)
	}
	return "opened with RESOLVE_BENEATH", unix.Close(fd)
}

func tryTempLease() (string, error) {
	f, err := os.CreateTemp("", "hbmfs-doctor-")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	r, err := os.Open(f.Name())
	if err != nil {
		return "", err
	}
	defer r.Close()
	f.Close() // a writer that is still open would refuse the lease
	if err := tryLease(r); err != nil {
		return "", fmt.Errorf("a file in %s: %w", os.TempDir(), err)
	}
	return "taken on a file in " + os.TempDir(), nil
}

func tryTempDelegation() (string, error) {
	dir, err := os.MkdirTemp("", "hbmfs-doctor-")
	if err != nil {
		return "", err
	}
	defer os.Remove(dir)
	f, err := os.Open(dir)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var w leaseWatch
	if err := w.start(); err != nil {
		return "", err
	}
	defer w.stop()
	if why := tryDelegation(kernelDelegator{}, int(f.Fd()), w.thread); why != "" {
		return "", fmt.Errorf("a directory in %s: %s", os.TempDir(), why)
	}
	return "taken on a directory in " + os.TempDir(), nil
}
