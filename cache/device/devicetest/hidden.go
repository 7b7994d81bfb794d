package devicetest

import (
	"fmt"
	"syscall"
	"testing"

	"hbmfs/cache/device"
	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

// hiddenLimit is the largest region of [Hidden], in bytes.
const hiddenLimit = 1 << 30

// Hidden provides memory that the CPU can't touch, by [transporttest.FakeDevice]:
// a stand-in for a device that has its own. Its regions have no descriptor, and
// are [Reader]s.
type Hidden struct{ TB testing.TB }

// Name is "hidden".
func (Hidden) Name() string { return "hidden" }

// CPU is false.
func (Hidden) CPU() bool { return false }

// Alloc makes a region that is closed with the test at the latest. The error
// wraps ENOMEM above 1 GiB.
func (h Hidden) Alloc(dom transport.Domain, size int64) (device.Region, error) {
	switch {
	case size <= 0:
		return nil, fmt.Errorf("hidden: %w %d", device.ErrSize, size)
	case size > hiddenLimit:
		return nil, fmt.Errorf("hidden: region of %d bytes: %w", size, syscall.ENOMEM)
	}
	return hiddenRegion{transporttest.NewFakeDevice(h.TB, size), dom}, nil
}

type hiddenRegion struct {
	*transporttest.FakeDevice
	dom transport.Domain
}

func (r hiddenRegion) Domain() transport.Domain { return r.dom }
func (r hiddenRegion) FD() int                  { return -1 }
func (r hiddenRegion) Prepare(_, _ int64)       {}
