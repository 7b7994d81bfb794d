package receive

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/sys/unix"
)

// ErrControl: the kernel said something of received bytes that can't be, or that
// this version doesn't know.
var ErrControl = errors.New("bad control message of device memory TCP")

// Both messages carry a struct dmabuf_cmsg (linux/uio.h of Linux 6.12):
// offset 8 | size 4 | token 4 | dma-buf's id 4 | flags 4.
const dmabufCmsgSize = 24

// A control message is a header, size_t length | int level | int type, and its
// data, both padded to the size of a word (cmsg(3)).
var (
	controlLen  = unix.CmsgLen(dmabufCmsgSize)
	controlSize = unix.CmsgSpace(dmabufCmsgSize)
)

// control is what one control message says of the bytes that came next.
type control struct {
	linear bool // they are in the buffer, not in device memory
	off    uint64
	size   uint32
	token  uint32
	id     uint32 // of the binding
}

// parseControl decodes the message that b starts with and returns what follows
// it. The error wraps ErrControl.
func parseControl(b []byte) (c control, rest []byte, err error) {
	if len(b) < unix.SizeofCmsghdr {
		return c, nil, fmt.Errorf("%w: %d bytes", ErrControl, len(b))
	}
	length := word(b)
	level := int32(binary.NativeEndian.Uint32(b[unix.SizeofCmsghdr-8:]))
	kind := int32(binary.NativeEndian.Uint32(b[unix.SizeofCmsghdr-4:]))
	switch {
	case level != unix.SOL_SOCKET || kind != unix.SCM_DEVMEM_DMABUF && kind != unix.SCM_DEVMEM_LINEAR:
		return c, nil, fmt.Errorf("%w: level %d, type %d", ErrControl, level, kind)
	case length != uint64(controlLen) || len(b) < controlLen:
		return c, nil, fmt.Errorf("%w: length %d of %d bytes", ErrControl, length, len(b))
	}
	data := b[controlLen-dmabufCmsgSize:]
	c = control{
		linear: kind == unix.SCM_DEVMEM_LINEAR,
		off:    binary.NativeEndian.Uint64(data),
		size:   binary.NativeEndian.Uint32(data[8:]),
		token:  binary.NativeEndian.Uint32(data[12:]),
		id:     binary.NativeEndian.Uint32(data[16:]),
	}
	return c, b[min(controlSize, len(b)):], nil
}

func word(b []byte) uint64 {
	if bits.UintSize == 32 {
		return uint64(binary.NativeEndian.Uint32(b))
	}
	return binary.NativeEndian.Uint64(b)
}

// check returns an error wrapping ErrControl unless c is of at most rest bytes, in
// the host's buffer, or in the binding id of size bytes of memory.
func (c control) check(id uint32, size int64, rest int) error {
	switch {
	case c.size == 0:
		return fmt.Errorf("%w: a fragment of no bytes", ErrControl)
	case int64(c.size) > int64(rest):
		return fmt.Errorf("%w: a fragment of %d bytes, where %d are left", ErrControl, c.size, rest)
	case c.linear:
		return nil
	case c.id != id:
		return fmt.Errorf("%w: a fragment in binding %d, the pool's is %d", ErrControl, c.id, id)
	case c.off > uint64(size) || uint64(c.size) > uint64(size)-c.off:
		return fmt.Errorf("%w: a fragment of %d bytes at %d, in a pool of %d", ErrControl, c.size, c.off, size)
	}
	return nil
}

// errCut: MSG_CTRUNC, though the kernel ends a recvmsg before it would need more
// room for these messages. Fragments may be lost, and their tokens with them.
var errCut = fmt.Errorf("%w: cut off by the kernel", ErrControl)
