// Package creds is who makes a request: what the kernel would go by if the caller opened
// a file. It reads that of the calling thread from /proc, and decides by mode bits as the
// kernel does (generic_permission in fs/namei.c).
//
// It never guesses: who can't be told, may nothing (EACCES).
//
// Locking: none. Creds do not change once they were read.
package creds

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"hbmfs/remote/namespace"
)

// Creds are what a thread is allowed things by.
type Creds struct {
	UID, GID uint32   // of the file system
	Groups   []uint32 // supplementary
	// override: the mode bits of what he looks at do not matter.
	override bool
}

// Capabilities that do, of capability.h.
const (
	capDACOverride   = 1 << 1
	capDACReadSearch = 1 << 2
)

// initialUserNamespace is what /proc/PID/ns/user leads to where all of the host's numbers
// are known (PROC_USER_INIT_INO of proc_ns.h).
const initialUserNamespace = "user:[4026531837]"

// OfBlocked returns the credentials of the thread tid, which is in a system call that
// this process has to answer, so that nothing changes them and nobody else takes its
// number. uid and gid are what the kernel says that they are. The error wraps EACCES.
func OfBlocked(tid, uid, gid uint32) (Creds, error) {
	if err := procIsOurs(); err != nil {
		return Creds{}, refuse(err)
	}
	if tid == 0 {
		return Creds{}, refuse(fmt.Errorf("the caller is in a PID name space that is not below the daemon's"))
	}
	dir := "/proc/" + strconv.FormatUint(uint64(tid), 10)
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return Creds{}, refuse(err)
	}
	c, caps, err := parse(status)
	if err != nil {
		return Creds{}, refuse(fmt.Errorf("%s/status: %w", dir, err))
	}
	if c.UID != uid || c.GID != gid {
		return Creds{}, refuse(fmt.Errorf("%s is of uid %d and gid %d, and the caller of %d and %d", dir, c.UID, c.GID, uid, gid))
	}
	c.override = caps&(capDACOverride|capDACReadSearch) != 0 && isInitial(dir)
	return c, nil
}

func refuse(err error) error { return fmt.Errorf("%w: %w", syscall.EACCES, err) }

// isInitial reports whether a process is in the initial user name space.
func isInitial(dir string) bool {
	to, err := os.Readlink(dir + "/ns/user")
	return err == nil && to == initialUserNamespace
}

// procIsOurs returns nil if /proc has the numbers of threads and users that the kernel
// tells this process.
var procIsOurs = sync.OnceValue(func() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	// It has one number for each name space from that of /proc down to the process's.
	if got, want := string(bytes.TrimSpace(line(status, "NSpid"))), strconv.Itoa(os.Getpid()); got != want {
		return fmt.Errorf("/proc is of another PID name space: there this process is %q, and %s to itself", got, want)
	}
	if !isInitial("/proc/self") {
		return fmt.Errorf("the daemon is in a user name space of its own, and can't tell groups")
	}
	return nil
})

// line returns what a line of /proc/PID/status has behind its name; nil: there is none.
func line(status []byte, name string) []byte {
	for l := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(l, []byte(name+":")); ok {
			return rest
		}
	}
	return nil
}

// parse returns what /proc/PID/status says.
func parse(status []byte) (c Creds, caps uint64, err error) {
	uids, err := numbers(status, "Uid", 4)
	if err != nil {
		return Creds{}, 0, err
	}
	gids, err := numbers(status, "Gid", 4)
	if err != nil {
		return Creds{}, 0, err
	}
	c.UID, c.GID = uids[3], gids[3] // real, effective, saved, file system
	if c.Groups, err = numbers(status, "Groups", -1); err != nil {
		return Creds{}, 0, err
	}
	caps, err = strconv.ParseUint(string(bytes.TrimSpace(line(status, "CapEff"))), 16, 64)
	return c, caps, err
}

// numbers returns n numbers, or with n < 0 any, of a line that must be there.
func numbers(status []byte, name string, n int) ([]uint32, error) {
	l := line(status, name)
	if l == nil {
		return nil, fmt.Errorf("no line %q", name)
	}
	var all []uint32
	for f := range bytes.FieldsSeq(l) {
		v, err := strconv.ParseUint(string(f), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", name, err)
		}
		all = append(all, uint32(v))
	}
	if n >= 0 && len(all) != n {
		return nil, fmt.Errorf("line %q has %d numbers", name, len(all))
	}
	return all, nil
}

const (
	mayRead   = 4
	maySearch = 1
)

// MayRead reports whether the mode bits of a file let it be opened for reading.
func (c *Creds) MayRead(a *namespace.Attr) bool { return c.may(a, mayRead) }

// MaySearch reports whether the mode bits of a directory let names be looked up in it.
func (c *Creds) MaySearch(a *namespace.Attr) bool { return c.may(a, maySearch) }

// may looks at the bits of the first that he is of owner, group and others, and at no
// other's.
func (c *Creds) may(a *namespace.Attr, what uint32) bool {
	const unknown = ^uint32(0)
	if a.UID == unknown || a.GID == unknown {
		return false
	}
	if c.override {
		return true
	}
	bits := a.Mode
	switch {
	case a.UID == c.UID:
		bits >>= 6
	case a.GID == c.GID || slices.Contains(c.Groups, a.GID):
		bits >>= 3
	}
	return bits&what != 0
}

// MayFollow reports whether a symbolic link in a directory may be followed: not another
// user's in one that is sticky and that all may write, unless that is his
// (may_follow_link in fs/namei.c, which protected_symlinks turns on).
func (c *Creds) MayFollow(dir, link *namespace.Attr) bool {
	const shared = syscall.S_ISVTX | 0o002
	return dir.Mode&shared != shared || link.UID == c.UID || link.UID == dir.UID
}
