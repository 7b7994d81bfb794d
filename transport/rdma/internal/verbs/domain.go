//go:build linux && cgo

package verbs

// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"syscall"
)

// PD is a protection domain: what its regions and queue pairs share.
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

// Close unpins the memory.
func (m *MR) Close() error {
	if m.ptr == nil {
		return nil
	}
	ptr := m.ptr
	m.ptr = nil
	return failed("ibv_dereg_mr", C.hb_close_mr(ptr))
}
