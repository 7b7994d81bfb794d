package main

import (
	"errors"
	"testing"
	"time"

	"hbmfs/cache"
	"hbmfs/cache/device"
	"hbmfs/transport"
)

// TestLendMemory: there is none before the cache, and then what the cache gives.
func TestLendMemory(t *testing.T) {
	var m mounter
	var reserve transport.ReserveFunc = m.lend.reserve
	dom := transport.Domain{UID: 1000}
	if _, err := reserve(dom, 4096); !errors.Is(err, transport.ErrNoLoan) {
		t.Errorf("without a cache: %v", err)
	}
	provider, err := device.Open("memfd")
	if err != nil {
		t.Fatal(err)
	}
	c, err := cache.New(cache.Config{Devices: []cache.Device{{Provider: provider, Pool: 1 << 20}}, Extent: 1 << 20, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	m.lend.from(c)
	mem, err := reserve(dom, 8192)
	if err != nil {
		t.Fatal(err)
	}
	id := mem.(*cache.Reserved).ID()
	if mem.Domain() != dom || mem.Size() != 8192 || !c.Region(id, func(device.Region) {}) {
		t.Errorf("%d bytes for %v, number %d", mem.Size(), mem.Domain(), id)
	}
	if err := errors.Join(mem.Close(), c.Close()); err != nil {
		t.Error(err)
	}
	if _, err := reserve(dom, 4096); !errors.Is(err, cache.ErrClosed) {
		t.Errorf("after the cache's Close: %v", err)
	}
}
