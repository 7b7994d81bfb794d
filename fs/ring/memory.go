package ring

import (
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"hbmfs/fs/uapi"
)

// memory is what a ring shares with its program.
type memory struct {
	uapi.RingMemory
	mapped    []byte
	memfd     int // -1 once it was handed over
	submitted int // eventfd: the program wakes the ring's thread
	completed int // eventfd: the ring wakes the program
	epoll     int // of submitted, for the thread
}

// newMemory makes a ring's memory, which nobody can resize.
func newMemory(number, entries, nameBytes uint32) (m memory, err error) {
	m = memory{memfd: -1, submitted: -1, completed: -1, epoll: -1}
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	if err := m.mapNew(pageAligned(uapi.RingLen(entries, nameBytes))); err != nil {
		return m, err
	}
	if m.submitted, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		return m, os.NewSyscallError("eventfd", err)
	}
	if m.completed, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		return m, os.NewSyscallError("eventfd", err)
	}
	if m.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return m, os.NewSyscallError("epoll_create1", err)
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET}
	if err = unix.EpollCtl(m.epoll, unix.EPOLL_CTL_ADD, m.submitted, &event); err != nil {
		return m, os.NewSyscallError("epoll_ctl", err)
	}
	m.RingMemory = uapi.InitRing(m.mapped, number, entries, nameBytes)
	return m, nil
}

func (m *memory) mapNew(size int) (err error) {
	if m.memfd, err = unix.MemfdCreate("hbmfs-ring", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING); err != nil {
		return os.NewSyscallError("memfd_create", err)
	}
	if err := unix.Ftruncate(m.memfd, int64(size)); err != nil {
		return os.NewSyscallError("ftruncate", err)
	}
	if _, err := unix.FcntlInt(uintptr(m.memfd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		return os.NewSyscallError("fcntl F_ADD_SEALS", err)
	}
	m.mapped, err = unix.Mmap(m.memfd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return os.NewSyscallError("mmap", err)
}

func pageAligned(n int) int {
	page := os.Getpagesize()
	return (n + page - 1) / page * page
}

// close closes what there is.
func (m *memory) close() {
	if m.mapped != nil {
		_ = unix.Munmap(m.mapped)
	}
	for _, fd := range []int{m.memfd, m.submitted, m.completed, m.epoll} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// descriptors returns those that the program gets, which are the caller's: the memory,
// of which there is only one, and both eventfds.
func (m *memory) descriptors() (fds []int, err error) {
	if m.memfd < 0 {
		return nil, fmt.Errorf("the memory was handed over before: %w", os.ErrClosed)
	}
	for _, own := range []int{m.submitted, m.completed} {
		fd, err := unix.FcntlInt(uintptr(own), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
			return nil, os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
		}
		fds = append(fds, fd)
	}
	fds = append([]int{m.memfd}, fds...)
	m.memfd = -1
	return fds, nil
}

// sleep waits until the program has written its eventfd since the last sleep, or
// wakeThread was called. It does not read the eventfd, which the program could make
// block for ever: each write is an edge.
func (m *memory) sleep() {
	var events [1]unix.EpollEvent
	_, _ = unix.EpollWait(m.epoll, events[:], -1) // EINTR: the caller looks anyway
}

// wakeThread ends the present sleep and all to come: an eventfd that is not readable is
// writable.
func (m *memory) wakeThread() {
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT}
	_ = unix.EpollCtl(m.epoll, unix.EPOLL_CTL_MOD, m.submitted, &event)
}

// wakeProgram adds 1 to the program's eventfd. It blocks if the program has saturated it.
func (m *memory) wakeProgram() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	for {
		if _, err := unix.Write(m.completed, one[:]); err != unix.EINTR {
			return
		}
	}
}

// drain reads the program's eventfd if it is saturated, so that a write to it which waits
// for that ends. It waits for nothing, and takes no wake-up that the program waits for.
func (m *memory) drain() {
	fds := [1]unix.PollFd{{Fd: int32(m.completed), Events: unix.POLLOUT}}
	if n, err := unix.Poll(fds[:], 0); n > 0 || err != nil {
		return
	}
	var count [8]byte
	_, _ = unix.Preadv2(m.completed, [][]byte{count[:]}, -1, unix.RWF_NOWAIT)
}
