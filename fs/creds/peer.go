package creds

import (
	"errors"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// OfPeer returns the credentials of the process that has connected to the socket fd: who
// it was by then, which no later setuid(2) of it changes. pid, uid and gid are what
// SO_PEERCRED says. Capabilities count of uid 0 only, and only if the kernel tells which
// process that was, and it is there still. The error wraps EACCES.
func OfPeer(fd int, pid, uid, gid uint32) (Creds, error) {
	if err := procIsOurs(); err != nil {
		return Creds{}, refuse(err)
	}
	groups, err := peerGroups(fd)
	if err != nil {
		return Creds{}, refuse(err)
	}
	c := Creds{UID: uid, GID: gid, Groups: groups}
	c.override = uid == 0 && peerOverrides(fd, pid)
	return c, nil
}

// peerGroups returns the supplementary groups of who has connected.
func peerGroups(fd int) ([]uint32, error) {
	groups := make([]uint32, 32)
	for {
		size := uint32(4 * len(groups))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/4], nil
		case !errors.Is(errno, unix.ERANGE) || size <= uint32(4*len(groups)):
			return nil, os.NewSyscallError("getsockopt SO_PEERGROUPS", errno)
		}
		groups = make([]uint32, size/4)
	}
}

// peerOverrides reports whether the mode bits do not matter to who has connected.
func peerOverrides(fd int, pid uint32) bool {
	pidfd, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	if err != nil {
		return false
	}
	defer unix.Close(pidfd)
	dir := "/proc/" + strconv.FormatUint(uint64(pid), 10)
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return false
	}
	c, caps, err := parse(status)
	overrides := err == nil && c.UID == 0 && caps&(capDACOverride|capDACReadSearch) != 0 && isInitial(dir)
	// The number was that process's all the time if it is there still.
	return overrides && unix.PidfdSendSignal(pidfd, 0, nil, 0) == nil
}
