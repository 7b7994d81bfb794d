// Package hca is a host's RDMA devices as both sides of a connection see them: one
// that is open, and what waits for its end; its ports, and what may be sent through
// them now; and the connections that have ended and are yet to say so.
//
// It owns the open device and its protection domain, and what a connection leaves
// behind that could not tell its peer. It makes no connection and knows no message
// of the protocol. There is no lock: a [Device] is closed by its last user, who knows
// that it is that.
package hca

import (
	"context"
	"errors"
	"fmt"

	"hbmfs/transport"
	"hbmfs/transport/rdma/internal/verbs"
)

// Ends of connections that were announced.
var (
	// ErrRemoved: the device goes.
	ErrRemoved = fmt.Errorf("%w: the RDMA device is being removed", transport.ErrConnLost)
	// ErrPeerLeft: the peer disconnected.
	ErrPeerLeft = fmt.Errorf("%w: %v", transport.ErrConnLost, verbs.Disconnected)
)

// Device is an open device and a protection domain on it, with its end as its
// connections see it.
//
// A queue pair that can't be destroyed is on a device that the kernel takes away,
// with all that is on it, at some time. But who closes the device finds all of it
// destroyed: the last close of its file does that, or waits for the removal to
// (ib_uverbs_close and uverbs_destroy_ufile_hw, drivers/infiniband/core of Linux
// 6.12). So what such a queue pair may still write or read waits until every
// connection has given the device up and the last has closed it. This needs a
// provider library that unmaps the device's pages as it closes it, whatever else
// failed: a mapping keeps the file open.
type Device struct {
	Name    string
	Ctx     *verbs.Context
	PD      *verbs.PD
	Removed context.Context // ends when the device goes
	Remove  context.CancelFunc
	Closed  chan struct{} // closed when it is
}

// Open opens the device of a name.
func Open(name string) (Device, error) {
	ctx, err := verbs.Open(name)
	if err != nil {
		return Device{}, err
	}
	pd, err := ctx.AllocPD()
	if err != nil {
		return Device{}, errors.Join(err, ctx.Close())
	}
	return NewDevice(name, ctx, pd), nil
}

// NewDevice is of an open device, which it closes.
func NewDevice(name string, ctx *verbs.Context, pd *verbs.PD) Device {
	d := Device{Name: name, Ctx: ctx, PD: pd, Closed: make(chan struct{})}
	d.Removed, d.Remove = context.WithCancel(context.Background())
	return d
}

// Close comes after all that was made on the device is closed. An error means that
// the kernel has taken it away.
func (d *Device) Close() error {
	defer close(d.Closed)
	return errors.Join(d.PD.Close(), d.Ctx.Close())
}

// OnEnd calls f when ctx ends, unless stop was called before. Once stop has
// returned, f does not run.
func OnEnd(ctx context.Context, f func()) (stop func()) {
	ran := make(chan struct{})
	undo := context.AfterFunc(ctx, func() {
		defer close(ran)
		f()
	})
	return func() {
		if !undo() {
			<-ran
		}
	}
}
