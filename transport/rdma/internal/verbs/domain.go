//go:build linux && cgo

package verbs

// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"
)

// PD is a protection domain: what its regions, windows and queue pairs share.
type PD struct {
	ptr *C.struct_ibv_pd
}

// Close frees the domain, once everything made from it is closed.
func (p *PD) Close() error {
	if p.ptr == nil {
		return nil
	}
	ptr := p.ptr
	p.ptr = nil
	return failed("ibv_dealloc_pd", C.hb_close_pd(ptr))
}

// MR is a registered memory region. Its memory stays pinned until Close.
type MR struct {
	Addr       uint64 // as work requests name the first byte
	Len        int64  // bytes
	LKey, RKey uint32

	ptr *C.struct_ibv_mr
}

// Register pins mem, which must not be Go heap memory, and must stay mapped
// until Close of the region.
func (p *PD) Register(mem []byte, a Access) (*MR, error) {
	m := &MR{Addr: Addr(mem), Len: int64(len(mem))}
	var key C.struct_hb_key
	rc := C.hb_register(p.ptr, C.uint64_t(m.Addr), C.uint64_t(m.Len), C.uint32_t(a), &m.ptr, &key)
	return m.registered("ibv_reg_mr", rc, key)
}

// RegisterDMABuf registers length bytes from off of the dma-buf fd. Work
// requests name its first byte as iova, which agrees with off modulo the page
// size. The region holds the dma-buf: fd may be closed. It returns an error
// wrapping EOPNOTSUPP where the device can't.
func (p *PD) RegisterDMABuf(fd int, off, length int64, iova uint64, a Access) (*MR, error) {
	m := &MR{Addr: iova, Len: length}
	var key C.struct_hb_key
	rc := C.hb_register_dmabuf(p.ptr, C.int(fd), C.uint64_t(off), C.uint64_t(length), C.uint64_t(iova), C.uint32_t(a), &m.ptr, &key)
	return m.registered("ibv_reg_dmabuf_mr", rc, key)
}

func (m *MR) registered(op string, rc C.int, key C.struct_hb_key) (*MR, error) {
	err := failed(op, rc)
	if errors.Is(err, syscall.ENOMEM) {
		return nil, fmt.Errorf("register %d bytes: %w: raise the limit of locked memory (ulimit -l)", m.Len, err)
	}
	if err != nil {
		return nil, fmt.Errorf("register %d bytes: %w", m.Len, err)
	}
	m.LKey, m.RKey = uint32(key.lkey), uint32(key.rkey)
	return m, nil
}

// Handle names the region in a [WorkBindWindow].
func (m *MR) Handle() Handle { return Handle(uintptr(unsafe.Pointer(m.ptr))) }

// Close unpins the memory. Windows bound to the region must be gone.
func (m *MR) Close() error {
	if m.ptr == nil {
		return nil
	}
	ptr := m.ptr
	m.ptr = nil
	return failed("ibv_dereg_mr", C.hb_close_mr(ptr))
}

// MW is a type 2 memory window: a key to a part of a region that
// [WorkBindWindow] gives out and [WorkLocalInvalidate] takes back.
type MW struct {
	RKey uint32 // the key of the latest binding; that of [PD.AllocWindow] opens nothing

	ptr *C.struct_ibv_mw
}

// AllocWindow makes a window that is bound to nothing.
func (p *PD) AllocWindow() (*MW, error) {
	w := &MW{}
	var rkey C.uint32_t
	if err := failed("ibv_alloc_mw", C.hb_alloc_window(p.ptr, &w.ptr, &rkey)); err != nil {
		return nil, err
	}
	w.RKey = uint32(rkey)
	return w, nil
}

// Handle names the window in a [WorkBindWindow].
func (w *MW) Handle() Handle { return Handle(uintptr(unsafe.Pointer(w.ptr))) }

// NextKey advances RKey to a key that differs from the 255 before it, for the
// next binding, and returns it. One goroutine at a time.
func (w *MW) NextKey() uint32 {
	w.RKey = w.RKey&^0xff | (w.RKey+1)&0xff
	return w.RKey
}

// Close frees the window; a binding ends with it.
func (w *MW) Close() error {
	if w.ptr == nil {
		return nil
	}
	ptr := w.ptr
	w.ptr = nil
	return failed("ibv_dealloc_mw", C.hb_close_window(ptr))
}
