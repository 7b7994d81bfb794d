package client

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"hbmfs/fs/uapi"
)

// ringLink is what a ring has from the kernel: its connection, its memory, and how the
// two sides wake each other.
type ringLink struct {
	conn   *net.UnixConn
	mapped []byte
	mount  int // eventfd: wakes the mount
	own    int // eventfd: the mount wakes this process
	stop   int // eventfd: wakes a sleep of this process
	epoll  int // of own, stop, and the connection's end

	mu     sync.Mutex
	closed bool // guarded by mu; stop must not be written any more
}

// dialRing asks for a ring on a connection of its own.
func (m *Mount) dialRing(entries, nameBytes uint32) (l *ringLink, number uint32, err error) {
	conn, err := m.dialCtl()
	if err != nil {
		return nil, 0, err
	}
	l = &ringLink{conn: conn, mount: -1, own: -1, stop: -1, epoll: -1}
	if number, err = l.ask(entries, nameBytes); err != nil {
		l.close()
		return nil, 0, err
	}
	if err = l.watch(); err != nil {
		l.close()
		return nil, 0, err
	}
	return l, number, nil
}

// ask has the mount make the ring.
func (l *ringLink) ask(entries, nameBytes uint32) (number uint32, err error) {
	out := make([]byte, uapi.CtlRingRequestSize)
	uapi.EncodeCtlRingRequest(out, &uapi.CtlRingRequest{
		Size: uint32(uapi.CtlRingRequestSize), Op: uapi.CtlRing, Entries: entries, NameBytes: nameBytes,
	})
	msg, err := exchange(l.conn, question{message: out})
	if err != nil {
		return 0, err
	}
	a, err := msg.parse()
	if err == nil {
		err = a.checkRing()
	}
	if err == nil {
		l.mount, l.own = a.fds[1], a.fds[2]
		l.mapped, err = mapRing(a.fds[0], a.reply.Length)
		a.fds = a.fds[:1]
	}
	for _, fd := range a.fds {
		unix.Close(fd)
	}
	return a.reply.Region, err
}

func (a answer) checkRing() error {
	switch errno := syscall.Errno(a.reply.Error); {
	case errno != 0:
		return explainBy(ringRequestRemedies, errno)
	case len(a.fds) != 3 || len(a.body) != 0:
		return fmt.Errorf("%w: %d descriptors for a ring, and %d bytes", ErrProtocol, len(a.fds), len(a.body))
	}
	return nil
}

// mapRing maps a ring's memory, which fd must hold.
func mapRing(fd int, length uint64) ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	if length == 0 || length > math.MaxInt32 || int64(length) > st.Size {
		return nil, fmt.Errorf("%w: a ring of %d bytes in a descriptor of %d", ErrProtocol, length, st.Size)
	}
	mapped, err := unix.Mmap(fd, 0, int(length), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return mapped, os.NewSyscallError("mmap", err)
}

// watch makes what sleep waits for.
func (l *ringLink) watch() (err error) {
	if l.stop, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	raw, err := l.conn.SyscallConn()
	if err != nil {
		return err
	}
	// Each write is an edge, so that nothing needs to be read.
	if err := l.add(l.own, unix.EPOLLIN|unix.EPOLLET); err != nil {
		return err
	}
	if err := l.add(l.stop, unix.EPOLLIN|unix.EPOLLET); err != nil {
		return err
	}
	var added error
	err = raw.Control(func(fd uintptr) { added = l.add(int(fd), unix.EPOLLRDHUP) })
	return errors.Join(err, added)
}

func (l *ringLink) add(fd int, events uint32) error {
	event := unix.EpollEvent{Events: events, Fd: int32(fd)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &event))
}

// sleep waits until the mount, or interrupt, has woken this process since the last sleep.
// It reports whether the mount has hung up.
func (l *ringLink) sleep() (hungUp bool) {
	var events [4]unix.EpollEvent
	n, err := unix.EpollWait(l.epoll, events[:], -1)
	if err != nil {
		return false // EINTR: the caller looks anyway
	}
	for _, e := range events[:n] {
		hungUp = hungUp || e.Events&(unix.EPOLLHUP|unix.EPOLLRDHUP|unix.EPOLLERR) != 0
	}
	return hungUp
}

func (l *ringLink) wakeMount() { addOne(l.mount) }

// interrupt ends a sleep, or the next one.
func (l *ringLink) interrupt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		addOne(l.stop)
	}
}

func addOne(fd int) {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	for {
		if _, err := unix.Write(fd, one[:]); err != unix.EINTR {
			return
		}
	}
}

// close gives all back. Nobody uses the ring any more, but for interrupt.
func (l *ringLink) close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	errs := []error{l.conn.Close()}
	if l.mapped != nil {
		errs = append(errs, unix.Munmap(l.mapped))
	}
	for _, fd := range []int{l.mount, l.own, l.stop, l.epoll} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(errs...)
}
