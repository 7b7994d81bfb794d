//go:build linux && cgo

package verbs

// #include "shim.h"
import "C"

import (
	"fmt"
	"net/netip"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// ID is a connection identifier: one end of a connection, or a listener. The
// queue pair is never the identifier's own: [ID.Move] sets up one of a
// [Context], so that librdmacm keeps no object of the device.
type ID struct {
	events *Events
	key    uint64

	mu  sync.Mutex           // guards what follows, over one call of the library
	ptr *C.struct_rdma_cm_id // nil once closed
}

// call runs f on the open identifier.
func (id *ID) call(op string, f func(*C.struct_rdma_cm_id) C.int) error {
	id.mu.Lock()
	defer id.mu.Unlock()
	if id.ptr == nil {
		return fmt.Errorf("identifier is closed: %w", failed(op, C.int(syscall.EINVAL)))
	}
	return failed(op, f(id.ptr))
}

// ResolveAddr finds the device and the local address that lead to dst, with or
// without an IPv6 zone. The result is an event: AddrResolved or AddrError.
func (id *ID) ResolveAddr(dst netip.AddrPort, timeout time.Duration) error {
	addr, err := rawAddr(dst)
	if err != nil {
		return err
	}
	return id.call("rdma_resolve_addr", func(ptr *C.struct_rdma_cm_id) C.int {
		return C.hb_resolve_addr(ptr, &addr, C.int(timeout.Milliseconds()))
	})
}

// ResolveRoute finds the route to the resolved address. The result is an event:
// RouteResolved or RouteError.
func (id *ID) ResolveRoute(timeout time.Duration) error {
	return id.call("rdma_resolve_route", func(ptr *C.struct_rdma_cm_id) C.int {
		return C.hb_resolve_route(ptr, C.int(timeout.Milliseconds()))
	})
}

// Device returns the device and port that the identifier goes through, and ""
// before its address is resolved, and for a listener on every address.
func (id *ID) Device() (name string, port uint8) {
	_ = id.call("device", func(ptr *C.struct_rdma_cm_id) C.int {
		var cport C.uint8_t
		if cname := C.hb_id_device(ptr, &cport); cname != nil {
			name, port = C.GoString(cname), uint8(cport)
		}
		return 0
	})
	return name, port
}

// Bind takes a local address. Port 0 asks for any; see [ID.Local].
func (id *ID) Bind(a netip.AddrPort) error {
	addr, err := rawAddr(a)
	if err != nil {
		return err
	}
	return id.call("rdma_bind_addr", func(ptr *C.struct_rdma_cm_id) C.int { return C.hb_bind(ptr, &addr) })
}

// Listen asks for ConnectRequest events; the kernel holds up to backlog of them.
func (id *ID) Listen(backlog int) error {
	return id.call("rdma_listen", func(ptr *C.struct_rdma_cm_id) C.int { return C.hb_listen(ptr, C.int(backlog)) })
}

// Local returns the local address, the zero AddrPort if there is none yet.
func (id *ID) Local() netip.AddrPort {
	var addr C.struct_hb_addr
	_ = id.call("local address", func(ptr *C.struct_rdma_cm_id) C.int { C.hb_id_local(ptr, &addr); return 0 })
	return goAddr(&addr)
}

// Peer returns the peer's address, the zero AddrPort if there is none yet.
func (id *ID) Peer() netip.AddrPort {
	var addr C.struct_hb_addr
	_ = id.call("peer address", func(ptr *C.struct_rdma_cm_id) C.int { C.hb_id_peer(ptr, &addr); return 0 })
	return goAddr(&addr)
}

// Move takes qp to the state to, with what the connection manager knows of the
// connection: Init from AddrResolved or ConnectRequest on, the others from
// ConnectResponse or ConnectRequest on. mtu, in bytes, replaces the path's at
// ReadyToReceive; 0 keeps it. At ReadyToSend the acknowledge timeout becomes
// 268 ms, with 6 retries, and none where the peer has no receive posted.
func (id *ID) Move(qp *QP, to QPState, mtu int) error {
	var code uint8
	if mtu != 0 {
		var ok bool
		if code, ok = mtuCode(mtu); !ok {
			return fmt.Errorf("path MTU of %d bytes: %w", mtu, failed("ibv_modify_qp", C.int(syscall.EINVAL)))
		}
	}
	return id.call("ibv_modify_qp", func(ptr *C.struct_rdma_cm_id) C.int {
		return C.hb_move(ptr, qp.ptr, C.int(to), C.int(code))
	})
}

// Connect asks the peer for a connection to queue pair qpn, from RouteResolved
// on, with up to [MaxConnectPrivate] bytes of private data.
func (id *ID) Connect(qpn uint32, private []byte) error {
	if err := fits("rdma_connect", private, MaxConnectPrivate); err != nil {
		return err
	}
	return id.call("rdma_connect", func(ptr *C.struct_rdma_cm_id) C.int {
		return C.hb_connect(ptr, C.uint32_t(qpn), bytesOf(private), C.uint8_t(len(private)))
	})
}

// Accept answers a ConnectRequest with queue pair qpn, which is ReadyToReceive,
// and up to [MaxAcceptPrivate] bytes of private data.
func (id *ID) Accept(qpn uint32, private []byte) error {
	if err := fits("rdma_accept", private, MaxAcceptPrivate); err != nil {
		return err
	}
	return id.call("rdma_accept", func(ptr *C.struct_rdma_cm_id) C.int {
		return C.hb_accept(ptr, C.uint32_t(qpn), bytesOf(private), C.uint8_t(len(private)))
	})
}

// Reject refuses a ConnectRequest or a ConnectResponse, with up to
// [MaxRejectPrivate] bytes of private data.
func (id *ID) Reject(private []byte) error {
	if err := fits("rdma_reject", private, MaxRejectPrivate); err != nil {
		return err
	}
	return id.call("rdma_reject", func(ptr *C.struct_rdma_cm_id) C.int {
		return C.hb_reject(ptr, bytesOf(private), C.uint8_t(len(private)))
	})
}

// Establish answers a ConnectResponse, once the queue pair is ReadyToSend.
func (id *ID) Establish() error {
	return id.call("rdma_establish", func(ptr *C.struct_rdma_cm_id) C.int { return C.hb_establish(ptr) })
}

// Disconnect tells the peer that the connection ends, or answers the peer that
// said so. Each side's Disconnected event comes from the other's Disconnect. The
// queue pair stays as it is: see [QP.Fail].
func (id *ID) Disconnect() error {
	return id.call("rdma_disconnect", func(ptr *C.struct_rdma_cm_id) C.int { return C.hb_disconnect(ptr) })
}

// Close gives the identifier up: no event names it any more, and a connect
// request that was not answered is rejected.
func (id *ID) Close() error {
	id.events.forget(id.key)
	id.mu.Lock()
	defer id.mu.Unlock()
	if id.ptr == nil {
		return nil
	}
	ptr := id.ptr
	id.ptr = nil
	return failed("rdma_destroy_id", C.hb_close_id(ptr))
}

func bytesOf(private []byte) *C.uint8_t { return (*C.uint8_t)(unsafe.SliceData(private)) }

func fits(op string, private []byte, limit int) error {
	if len(private) > limit {
		return fmt.Errorf("%d bytes of private data, the limit is %d: %w", len(private), limit, failed(op, C.int(syscall.EINVAL)))
	}
	return nil
}
