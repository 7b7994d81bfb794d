package cache

import (
	"fmt"
	"strings"

	"hbmfs/cache/device"
)

// Device is a kind of device memory that a cache fills.
type Device struct {
	// Provider allocates the regions, one for each domain.
	Provider device.Provider
	// Pool is a region's size in bytes: rounded down to a multiple of
	// Config.Extent, and at least one.
	Pool int64
}

// Devices are those of the configuration, by their numbers. The slice must not be
// changed.
func (c *Cache) Devices() []Device { return c.cfg.Devices }

// Device returns the device of a number. The error wraps [ErrNoDevice] and lists
// those there are.
func (c *Cache) Device(number uint32) (Device, error) {
	if int64(number) < int64(len(c.cfg.Devices)) {
		return c.cfg.Devices[number], nil
	}
	known := make([]string, 0, len(c.cfg.Devices))
	for i, d := range c.cfg.Devices {
		known = append(known, fmt.Sprintf("%d (%s)", i, d.Provider.Name()))
	}
	return Device{}, fmt.Errorf("%w: %d; there are %s", ErrNoDevice, number, strings.Join(known, ", "))
}
