package hca

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/rdma/internal/verbs"
)

// A message of the connection manager that is sent while the network link is
// down can cost the device all connections to come. Soft-RoCE takes a send that
// finds no route for a failure of the queue pair, in Linux 6.12 rxe_requester
// (drivers/infiniband/sw/rxe/rxe_req.c). That queue pair is the one of all such
// messages, number 1: its receives are flushed, and the kernel posts no others
// (ib_mad_recv_done, drivers/infiniband/core/mad.c). It stays in the error state
// until the device is removed and added again.
//
// So a connection that ends says so only while its port is active, however long
// that takes (see [DeferredDisconnects]), and none is asked for before. What remains is a
// link that goes down while the kernel still repeats a message that nobody
// answered, and a process that ends while it is down: the kernel then sends what
// it has to. See [Port.NoAnswer].
//
// A link that goes down takes its queue pairs along before its port's state says
// so: an end that the peer did not announce counts as a sign of it for a while.
const (
	settleTime = 500 * time.Millisecond
	lookTime   = 20 * time.Millisecond
	downTime   = 200 * time.Millisecond // between two looks at a port that is down
)

// ErrPortDown says that nothing passes through a port, and the remedy.
var ErrPortDown = errors.New("the port is down: bring its network link up")

// class is where the kernel shows its RDMA devices; a test's may be elsewhere.
var class = "/sys/class/infiniband"

// Port is a port of a device. The zero Port is none.
type Port struct {
	Device string
	Number uint8
}

// NewPort is the port that messages of id go through.
func NewPort(id *verbs.ID) Port {
	device, number := id.Device()
	return Port{device, number}
}

// SettleTime is how long a port must have been active before a connection that
// err ended may say so.
func SettleTime(err error) time.Duration {
	for _, announced := range []error{
		ErrPeerLeft, ErrRemoved, transport.ErrSession, transport.ErrClosed, net.ErrClosed,
	} {
		if errors.Is(err, announced) {
			return 0
		}
	}
	return settleTime
}

// await returns when p has been active for as long as settle, or is gone with its
// device, which removed says too.
func (p Port) await(settle time.Duration, removed <-chan struct{}) {
	for since := time.Now(); ; {
		wait := lookTime
		switch {
		case !p.Active():
			since, wait = time.Now(), downTime
		case time.Since(since) >= settle:
			return
		}
		select {
		case <-time.After(wait):
		case <-removed:
			return
		}
	}
}

// Active reports false while the port is there and its link is down, or it can't
// be told. A port that is not there is nothing to wait for. That is so too where
// the whole class is hidden, as in a container without sysfs: libibverbs finds no
// device there either.
func (p Port) Active() bool {
	// "4: ACTIVE"; see Documentation/ABI/stable/sysfs-class-infiniband.
	state, err := os.ReadFile(filepath.Join(class, p.Device, "ports", fmt.Sprint(p.Number), "state"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return true
	}
	return err == nil && strings.HasPrefix(string(state), "4:")
}

// Down says that p is.
func (p Port) Down() error {
	return fmt.Errorf("RDMA device %s, port %d: %w", p.Device, p.Number, ErrPortDown)
}

// NoAnswer says that nobody answered a connection request through p, and how to
// tell the one reason that lies on this host, and mend it.
func (p Port) NoAnswer() error {
	return fmt.Errorf("%w: no answer to a connection request through RDMA device %[2]s; if rdma resource show qp link %[2]s/%[3]d "+
		"has a queue pair of type GSI in state ERR, the device sends none: remove it and add it again (rdma link delete, rdma link add)",
		transport.ErrConnLost, p.Device, p.Number)
}

// MTU is the port's active MTU on its device, which is open as ctx, in bytes.
func (p Port) MTU(ctx *verbs.Context) (int, error) {
	attr, err := ctx.Port(p.Number)
	if err == nil && !attr.Active {
		err = p.Down()
	}
	if err == nil && !ValidMTU(attr.ActiveMTU) {
		err = fmt.Errorf("port %d has no path MTU that is known (%d bytes): check its network link", p.Number, attr.ActiveMTU)
	}
	return attr.ActiveMTU, err
}

// ValidMTU reports whether there is such a path MTU, in bytes.
func ValidMTU(n int) bool { return n >= 256 && n <= 4096 && n&(n-1) == 0 }
