//go:build linux && cgo

package verbs

// #include "shim.h"
import "C"

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// Events is an event channel of the connection manager.
type Events struct {
	ptr    *C.struct_rdma_event_channel
	waiter *waiter
	latest C.struct_hb_event // of the goroutine in Next
	spare  uint64            // the key of the next connect request, of the same goroutine

	mu      sync.Mutex     // guards what follows
	ids     map[uint64]*ID // by the key that their events bring; those not closed
	lastKey uint64
}

// NewEvents opens a channel. It returns an error wrapping [ErrUnsupported]
// where [Load] does or the kernel has no connection manager.
func NewEvents() (*Events, error) {
	if err := Load(); err != nil {
		return nil, err
	}
	e := &Events{ids: make(map[uint64]*ID)}
	e.spare = e.newKey()
	var fd C.int
	if err := failedHost("rdma_create_event_channel", C.hb_new_events(&e.ptr, &fd)); err != nil {
		return nil, err
	}
	var err error
	e.waiter, err = newWaiter(int(fd), "rdma event channel", func() syscall.Errno {
		return syscall.Errno(C.hb_next_event(e.ptr, C.uint64_t(e.spare), &e.latest))
	})
	if err != nil {
		C.hb_close_events(e.ptr)
		return nil, err
	}
	return e, nil
}

func (e *Events) newKey() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lastKey++
	return e.lastKey
}

// Next parks the goroutine until the next event. The event is acknowledged by
// then, so that [ID.Close] never waits for the caller. It returns
// [ErrInterrupted] after [Events.Interrupt].
func (e *Events) Next() (Event, error) {
	for {
		if err := e.waiter.wait(); err != nil {
			return Event{}, os.NewSyscallError("rdma_get_cm_event", err)
		}
		if ev, ok := e.translate(); ok {
			return ev, nil
		}
	}
}

// translate makes an Event of the latest; not ok if its ID is closed by now.
func (e *Events) translate() (Event, bool) {
	raw := &e.latest
	ev := Event{Kind: EventKind(raw.kind), Status: int(raw.status)}
	if raw.private_len > 0 {
		ev.Private = C.GoBytes(unsafe.Pointer(&raw.private_data), C.int(raw.private_len))
	}
	if raw.fresh != nil {
		ev.ID = e.adopt(e.spare, raw.fresh)
		e.spare = e.newKey()
		if e.find(uint64(raw.listener)) == nil {
			_ = ev.ID.Close() // the kernel rejects what nobody accepted
			return Event{}, false
		}
		return ev, true
	}
	ev.ID = e.find(uint64(raw.key))
	return ev, ev.ID != nil
}

func (e *Events) find(key uint64) *ID {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ids[key]
}

func (e *Events) adopt(key uint64, ptr *C.struct_rdma_cm_id) *ID {
	id := &ID{events: e, key: key, ptr: ptr}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ids[key] = id
	return id
}

func (e *Events) forget(key uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.ids, key)
}

// NewID makes an identifier for a reliable connection, or to listen for them.
func (e *Events) NewID() (*ID, error) {
	key := e.newKey()
	var ptr *C.struct_rdma_cm_id
	if err := failedHost("rdma_create_id", C.hb_new_id(e.ptr, C.uint64_t(key), &ptr)); err != nil {
		return nil, err
	}
	return e.adopt(key, ptr), nil
}

// Interrupt makes [Events.Next] return [ErrInterrupted], now and until
// [Events.Resume].
func (e *Events) Interrupt() { e.waiter.interrupt() }

// Resume lets [Events.Next] wait again after [Events.Interrupt].
func (e *Events) Resume() { e.waiter.resume() }

// Close closes the channel. Every ID of it must be closed, and Next have
// returned for the last time.
func (e *Events) Close() error {
	if e.ptr == nil {
		return nil
	}
	e.mu.Lock()
	left := len(e.ids)
	e.mu.Unlock()
	if left > 0 {
		return fmt.Errorf("close rdma event channel: %d identifiers are open: close them first", left)
	}
	ptr := e.ptr
	e.ptr = nil
	err := e.waiter.close()
	C.hb_close_events(ptr)
	return err
}
