package nic

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

var (
	// ErrNoNIC says that no interface of this network namespace has the name.
	ErrNoNIC = errors.New("no such network interface")
	// ErrDown says that the interface is down: its queues exist only while up.
	ErrDown = errors.New("network interface is down")
	// ErrQueues says that the queues asked for can't be taken from the interface.
	ErrQueues = errors.New("receive queues can't be taken")
	// ErrUnsupported says that the NIC, its driver or the kernel lacks a need. The
	// error is an [*UnsupportedError].
	ErrUnsupported = errors.New("not supported")
	// ErrBusy says that somebody else uses the NIC or the queues.
	ErrBusy = errors.New("in use")
	// ErrChanged says that a setting is no longer what it was made.
	ErrChanged = errors.New("changed by somebody else")
	// ErrDMABuf says that the file descriptor is not a dma-buf that the NIC can use.
	ErrDMABuf = errors.New("not a usable dma-buf")
	// ErrClosed says that the NIC was closed.
	ErrClosed = errors.New("NIC is closed")
)

// UnsupportedError says what is lacking and what would help.
type UnsupportedError struct {
	What, Remedy string
	Err          error // of the kernel; may be nil
}

func (e *UnsupportedError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%s: %v; %s", e.What, ErrUnsupported, e.Remedy)
	}
	return fmt.Sprintf("%s: %v: %v; %s", e.What, ErrUnsupported, e.Err, e.Remedy)
}

// Is makes the error match [ErrUnsupported].
func (e *UnsupportedError) Is(target error) bool { return target == ErrUnsupported }

func (e *UnsupportedError) Unwrap() error { return e.Err }

// enotsupp is the kernel's ENOTSUPP, which drivers leak though no user header has
// it (include/linux/errno.h, Linux 6.12).
const enotsupp = unix.Errno(524)

func lacking(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, enotsupp)
}

// need is something that a NIC must be able to do, and what helps if it can't.
type need struct{ what, remedy string }

var (
	needSplit = need{"TCP header split",
		"a NIC and driver that can switch tcp-data-split on are needed (ethtool -G NAME tcp-data-split on)"}
	needNTuple = need{"flow steering",
		"a NIC and driver with n-tuple filters are needed (ethtool -K NAME ntuple on)"}
	needRSS = need{"RSS indirection table",
		"a NIC and driver that can keep other packets off a queue are needed (ethtool -X NAME)"}
	needBind = need{"binding a dma-buf to a receive queue",
		"Linux 6.12 or later with CONFIG_NET_DEVMEM is needed, and a driver that can restart single queues"}
	needQueues = need{"netlink family netdev",
		"Linux 6.12 or later is needed"}
)

// failed says what failed, for an error of the kernel on a need.
func (n need) failed(err error) error {
	switch {
	case err == nil:
		return nil
	case lacking(err):
		return &UnsupportedError{What: n.what, Remedy: n.remedy, Err: err}
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%s: %w; CAP_NET_ADMIN is needed", n.what, err)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%s: %w: %w", n.what, ErrNoNIC, err)
	default:
		return fmt.Errorf("%s: %w", n.what, err)
	}
}

func unsupported(err error) (*UnsupportedError, bool) {
	var e *UnsupportedError
	ok := errors.As(err, &e)
	return e, ok
}

// state is the error without its remedy.
func (e *UnsupportedError) state() string {
	if e.Err == nil {
		return ErrUnsupported.Error()
	}
	return fmt.Sprintf("%v: %v", ErrUnsupported, e.Err)
}
