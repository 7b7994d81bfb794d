//go:build linux && cgo

package verbs

// #include "shim.h"
import "C"

import (
	"fmt"
	"strings"
	"unsafe"
)

// maxDevices is more than a host has.
const maxDevices = 256

// Devices lists the names of the host's RDMA devices, as rxe0 or mlx5_0. None
// is no error. It returns an error wrapping [ErrUnsupported] where [Load] does
// or where the kernel has no RDMA.
func Devices() ([]string, error) {
	if err := Load(); err != nil {
		return nil, err
	}
	var names [maxDevices][C.HB_NAME_MAX]C.char
	var count C.int
	if err := failedHost("ibv_get_device_list", C.hb_devices(&names[0], maxDevices, &count)); err != nil {
		return nil, err
	}
	found := make([]string, count)
	for i := range found {
		found[i] = C.GoString(&names[i][0])
	}
	return found, nil
}

// Context is an open device.
type Context struct {
	ptr  *C.struct_ibv_context
	name string
}

// Open opens the device called name. It returns an error wrapping
// [ErrUnsupported] if there is none.
func Open(name string) (*Context, error) {
	if err := Load(); err != nil {
		return nil, err
	}
	if name == "" || strings.IndexByte(name, 0) >= 0 || len(name) >= C.HB_NAME_MAX {
		return nil, fmt.Errorf("%w: no device can have the name %q", ErrUnsupported, name)
	}
	var cname [C.HB_NAME_MAX]C.char
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&cname)), len(cname)), name)
	c := &Context{name: name}
	if err := failedHost("ibv_open_device", C.hb_open(&cname[0], &c.ptr)); err != nil {
		return nil, fmt.Errorf("rdma device %s: %w", name, err)
	}
	return c, nil
}

// Name returns the device's name.
func (c *Context) Name() string { return c.name }

// Port asks the state of a port, 1 and up.
func (c *Context) Port(port uint8) (PortAttr, error) {
	var a C.struct_hb_port_attr
	if err := failed("ibv_query_port", C.hb_port(c.ptr, C.uint8_t(port), &a)); err != nil {
		return PortAttr{}, fmt.Errorf("rdma device %s, port %d: %w", c.name, port, err)
	}
	return PortAttr{
		Active:    bool(a.active),
		ActiveMTU: mtuBytes(uint8(a.active_mtu)),
		MaxMTU:    mtuBytes(uint8(a.max_mtu)),
		LinkLayer: linkLayer(uint8(a.link_layer)),
		Speed:     portSpeed(uint8(a.width), uint8(a.speed)),
	}, nil
}

// Close closes the device.
func (c *Context) Close() error {
	if c.ptr == nil {
		return nil
	}
	ptr := c.ptr
	c.ptr = nil
	return failed("ibv_close_device", C.hb_close(ptr))
}

// AllocPD makes a protection domain.
func (c *Context) AllocPD() (*PD, error) {
	p := &PD{}
	if err := failed("ibv_alloc_pd", C.hb_alloc_pd(c.ptr, &p.ptr)); err != nil {
		return nil, fmt.Errorf("rdma device %s: %w", c.name, err)
	}
	return p, nil
}
