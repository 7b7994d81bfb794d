// Package verbs is the module's only door to libibverbs and librdmacm. It owns
// the C handles behind its types: devices, protection domains, memory
// regions, completion queues, queue pairs and connection identifiers. The
// libraries are opened at run time, so a binary built with this package starts
// on hosts that lack them.
//
// It never speaks a wire protocol, retries, logs, or starts a goroutine, and it
// never keeps memory that a caller registered: that must outlive its region.
//
// Locking: methods may be called from any goroutine, except that one goroutine
// at a time calls [CQ.Wait] of a queue, and one [Events.Next]. Close is
// idempotent, and comes after the last other call on the object, and after
// Close of what was made from it; [ID] is the exception: its mutex guards its
// handle, and a call on a closed ID answers EINVAL.
package verbs

import "errors"

// ErrUnsupported says that RDMA can't be used by this build or on this host:
// no cgo, a library is missing, or no device answers to the name.
var ErrUnsupported = errors.New("rdma is not usable in this build or on this host")

// ErrInterrupted is what [CQ.Wait] and [Events.Next] return once interrupted.
var ErrInterrupted = errors.New("interrupted")

// PortAttr is the state of one port of a device.
type PortAttr struct {
	Active    bool
	ActiveMTU int    // bytes, 256 to 4096
	MaxMTU    int    // bytes, 256 to 4096
	LinkLayer string // "Ethernet", "InfiniBand", or "unspecified"
	Speed     uint64 // bits per second over all lanes; 0 if unknown
}

// Access says what may be done to a memory region, as enum ibv_access_flags.
type Access uint32

// The bits of an [Access]. A remote right to write needs LocalWrite too.
const (
	LocalWrite  Access = 1 << 0 // the device may write for local requests
	RemoteWrite Access = 1 << 1 // peers may RDMA WRITE
)

// QPConfig sizes a queue pair: outstanding work requests of each queue, at least
// 1 and no more than the device has room for.
type QPConfig struct {
	SendDepth, RecvDepth int
}

// QPState is a state that [ID.Move] takes a queue pair to.
type QPState int

// The states of a connection's set-up, in their order.
const (
	Init QPState = iota
	ReadyToReceive
	ReadyToSend
)

// Limits of the private data that the connection manager carries for
// RDMA_PS_TCP, in bytes.
const (
	MaxConnectPrivate = 56
	MaxAcceptPrivate  = 196
	MaxRejectPrivate  = 148
)
