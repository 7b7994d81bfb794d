package creds

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"unsafe"

	"hbmfs/remote/namespace"
)

// TestMay: only the bits of the first class that a user is in count.
func TestMay(t *testing.T) {
	const owner, group, extra = 10, 20, 30
	user := Creds{UID: 1, GID: 2, Groups: []uint32{3, extra}}
	for _, c := range []struct {
		who          Creds
		uid, gid     uint32
		mode         uint32
		read, search bool
	}{
		{user, owner, group, 0o705, true, true},
		{user, owner, group, 0o770, false, false},
		{user, owner, extra, 0o705, false, false},
		{user, owner, extra, 0o040, true, false},
		{user, owner, extra, 0o010, false, true},
		{user, owner, 2, 0o707, false, false},
		{user, 1, extra, 0o077, false, false},
		{user, 1, extra, 0o400, true, false},
		{user, 1, extra, 0o100, false, true},
		{Creds{UID: 0}, owner, group, 0o770, false, false}, // without a capability
		{Creds{UID: 0, override: true}, owner, group, 0, true, true},
		{Creds{UID: 0, override: true}, ^uint32(0), group, 0o777, false, false},
		{Creds{UID: ^uint32(0)}, ^uint32(0), group, 0o777, false, false},
	} {
		a := namespace.Attr{UID: c.uid, GID: c.gid, Mode: c.mode}
		if read, search := c.who.MayRead(&a), c.who.MaySearch(&a); read != c.read || search != c.search {
			t.Errorf("%+v, mode %#o of %d:%d: read %t, search %t", c.who, c.mode, c.uid, c.gid, read, search)
		}
	}
}

func TestMayFollow(t *testing.T) {
	who := Creds{UID: 1}
	for _, c := range []struct {
		mode, dir, link uint32
		want            bool
	}{
		{0o777, 2, 3, true}, {0o1775, 2, 3, true}, {0o1777, 2, 3, false},
		{0o1777, 2, 1, true}, {0o1777, 2, 2, true},
	} {
		if got := who.MayFollow(&namespace.Attr{UID: c.dir, Mode: c.mode}, &namespace.Attr{UID: c.link}); got != c.want {
			t.Errorf("a link of %d in mode %#o of %d: %t", c.link, c.mode, c.dir, got)
		}
	}
}

// TestOfBlocked: a thread's credentials are its own, not its process's.
func TestOfBlocked(t *testing.T) {
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	if _, err := OfBlocked(uint32(os.Getpid()), uid, gid); err != nil {
		t.Fatal(err)
	}
	if uid != 0 {
		t.Skip("unsupported: only root takes other groups")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and end it with the goroutine
		groups := []uint32{7, 9, 70000}
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0])), 0); errno != 0 {
			t.Error(errno)
		}
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETFSUID, 1234, 0, 0); errno != 0 {
			t.Error(errno)
		}
		tid := uint32(syscall.Gettid())
		got, err := OfBlocked(tid, 1234, gid)
		if err != nil || got.UID != 1234 || !slices.Equal(got.Groups, groups) || got.override {
			t.Errorf("%+v, %v", got, err)
		}
		for _, wrong := range [][3]uint32{{0, 1234, gid}, {tid, 1235, gid}, {tid, 1234, gid + 1}, {1 << 30, 1234, gid}} {
			if got, err := OfBlocked(wrong[0], wrong[1], wrong[2]); !errors.Is(err, syscall.EACCES) {
				t.Errorf("thread %d, uid %d, gid %d: %+v, %v", wrong[0], wrong[1], wrong[2], got, err)
			}
		}
	}()
	<-done
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("Uid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \nCapEff:\t000001ffffffffff\n"))
	f.Add([]byte("Name:\tUid:\nUid:\t1\t2\t3\nGid:\t5\t6\t7\t8\nGroups:\t\nCapEff:\t0\n"))
	f.Fuzz(func(t *testing.T, status []byte) {
		if c, caps, err := parse(status); err != nil && (c.UID != 0 || c.override || caps != 0) && len(c.Groups) > 0 {
			t.Fatalf("%+v with %v", c, err)
		}
	})
}
