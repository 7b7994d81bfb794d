package nic

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Binding is a dma-buf that queues receive payload into. It ends with the netlink
// socket that it owns, so also with the process.
type Binding struct {
	nic    *NIC
	id     uint32
	queues []int
	held   io.Closer // nil once released
}

// Bind has queues receive into a dma-buf, of which the kernel keeps its own
// reference; without queues it binds all taken ones. An error that wraps [ErrBusy]
// says that a queue receives into something already.
func (n *NIC) Bind(dmabuf int, queues ...int) (*Binding, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(queues) == 0 {
		queues = n.taken
	}
	for _, q := range queues {
		if err := n.mayTake(q); err != nil {
			return nil, err
		}
	}
	queues = slices.Clone(queues)
	id, held, err := bind(n.k, n.link, dmabuf, queues)
	if err != nil {
		return nil, err
	}
	b := &Binding{nic: n, id: id, queues: queues, held: held}
	n.bindings = append(n.bindings, b)
	return b, nil
}

func bind(k kernel, l link, dmabuf int, queues []int) (uint32, io.Closer, error) {
	if err := checkDMABuf(dmabuf); err != nil {
		return 0, nil, err
	}
	id, held, err := k.bind(l, dmabuf, queues)
	if err != nil {
		return 0, nil, fmt.Errorf("%s: queues %v: %w", l.Name, queues, bindFailed(err))
	}
	return id, held, nil
}

// checkDMABuf finds what the kernel would refuse with a bare EINVAL.
func checkDMABuf(fd int) error {
	target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return fmt.Errorf("%w: file descriptor %d is not open", ErrDMABuf, fd)
	}
	if !strings.HasPrefix(target, "/dmabuf:") {
		return fmt.Errorf("%w: file descriptor %d is %s", ErrDMABuf, fd, target)
	}
	return nil
}

// bindFailed says what an errno of BIND_RX means (net/core/devmem.c and
// netdev_rx_queue.c, Linux 6.12).
func bindFailed(err error) error {
	switch {
	case errors.Is(err, unix.EEXIST), errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: %w", ErrBusy, err)
	case errors.Is(err, unix.ENODATA):
		return &UnsupportedError{What: needBind.what, Remedy: "a driver whose page pools take memory of others is needed", Err: err}
	default:
		return needBind.failed(err)
	}
}

// ID is the kernel's number of the binding, as in control messages of its data.
func (b *Binding) ID() uint32 { return b.id }

// Close takes the memory off the queues. Data that sockets have not read yet stays
// valid until they are closed.
func (b *Binding) Close() error {
	n := b.nic
	n.mu.Lock()
	defer n.mu.Unlock()
	n.bindings = slices.DeleteFunc(n.bindings, func(other *Binding) bool { return other == b })
	return b.release()
}

func (b *Binding) release() error {
	if b.held == nil {
		return nil
	}
	err := b.held.Close()
	b.held = nil
	return err
}
