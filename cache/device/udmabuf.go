package device

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"structs"
	"unsafe"

	"golang.org/x/sys/unix"

	"hbmfs/transport"
)

const (
	udmabufNode = "/dev/udmabuf"
	// udmabufLimit holds the largest dma-buf that the driver makes, in MiB.
	udmabufLimit = "/sys/module/udmabuf/parameters/size_limit_mb"
)

// The driver's interface, from linux/udmabuf.h of Linux 6.12.
const (
	udmabufCreateCmd    = 0x40187542 // _IOW('u', 0x42, struct udmabuf_create)
	udmabufFlagsCloexec = 1
)

type udmabufCreate struct {
	_      structs.HostLayout
	memfd  uint32
	flags  uint32
	offset uint64
	size   uint64
}

// udmabuf provides dma-bufs of sealed anonymous files: memory that importers of
// dma-bufs reach as they do a device's, and the CPU as well. Its regions keep
// the file beside the dma-buf, since not every importer takes a dma-buf, and
// since users map the file read-only: the dma-buf can't be sealed, so it is
// never handed to one.
type udmabuf struct{}

func (udmabuf) Name() string { return "udmabuf" }
func (udmabuf) CPU() bool    { return true }

// Room is bounded by the driver as well.
func (udmabuf) Room() (Room, error) {
	room, err := hostRoom()
	limit, known := driverLimit()
	if err != nil || !known || room.Bytes <= limit {
		return room, err
	}
	return Room{limit, fmt.Sprintf("the driver's limit of %d MiB; raise it (%s)", limit>>20, udmabufLimit)}, nil
}

// driverLimit is the largest dma-buf that the driver makes, in bytes.
func driverLimit() (int64, bool) {
	text, err := os.ReadFile(udmabufLimit)
	if err != nil {
		return 0, false
	}
	mib, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 32)
	return mib << 20, err == nil
}

func (udmabuf) Alloc(dom transport.Domain, size int64) (Region, error) {
	page := int64(os.Getpagesize())
	if size <= 0 || size > math.MaxInt64-page {
		return nil, fmt.Errorf("udmabuf: %w %d", ErrSize, size)
	}
	r, err := makeRegion("udmabuf", dom, (size+page-1)&^(page-1))
	if err == nil {
		err = r.export()
	}
	if err != nil {
		return nil, fmt.Errorf("udmabuf: region of %d bytes: %w", size, errors.Join(err, r.Close()))
	}
	r.size, r.mem = size, r.mem[:size]
	return r, nil
}

// export makes the dma-buf. The driver insists on a file that can't shrink, and
// refuses one that is sealed against writers already.
func (r *region) export() error {
	if err := r.seal(sizeSeals); err != nil {
		return err
	}
	node, err := os.OpenFile(udmabufNode, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("%w; load the module (modprobe udmabuf), or give this user access to it", err)
	}
	defer node.Close()
	arg := udmabufCreate{memfd: uint32(r.fd), flags: udmabufFlagsCloexec, size: uint64(len(r.mem))}
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, node.Fd(), udmabufCreateCmd, uintptr(unsafe.Pointer(&arg)))
	if errno != 0 {
		return explainUdmabuf(os.NewSyscallError("ioctl UDMABUF_CREATE", errno), int64(len(r.mem)))
	}
	r.dmabuf = int(fd)
	return r.seal(writeSeals)
}

// explainUdmabuf adds what to do if the region is larger than the driver allows.
func explainUdmabuf(err error, size int64) error {
	limit, known := driverLimit()
	if !known || size <= limit {
		return err
	}
	return fmt.Errorf("%w: the driver's limit is %d MiB; raise it (echo %d > %s) or use a smaller pool",
		err, limit>>20, (size+1<<20-1)>>20, udmabufLimit)
}
