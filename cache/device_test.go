package cache

import (
	"errors"
	"strings"
	"testing"

	"hbmfs/transport"
)

// TestDevices: each device has a pool of its own for each user, which its
// provider made, and the same bytes are fetched to each.
func TestDevices(t *testing.T) {
	second := &fakeProvider{}
	g := newRig(t, 2, func(cfg *Config) { cfg.Devices = append(cfg.Devices, Device{second, 3 * testExtent}) })
	src := autoSource(7, testExtent)
	there := transport.Domain{UID: alice.UID, Device: 1}
	for range 2 { // cold, then hits
		for _, dom := range []transport.Domain{alice, there} {
			l, err := g.run(t.Context(), src, dom, 0, src.size, 1)
			if err != nil {
				t.Fatal(err)
			}
			g.check(l, src.key)
			if r, ok := g.find(l.Segments()[0].Region); !ok || r.Domain() != dom {
				t.Errorf("fetched for %v, to memory of %v", dom, r.Domain())
			}
			l.Release()
		}
	}
	if s := g.Stats(); s.Misses != 2 || s.Hits != 2 || s.Regions != 2 || s.RegionBytes != 5*testExtent {
		t.Errorf("%+v", s)
	}
	r, err := g.Reserve(there, 4096)
	if err != nil {
		t.Fatal(err)
	}
	if len(g.provider.regions) != 1 || len(second.regions) != 2 || r.Region != second.regions[1] {
		t.Errorf("%d regions of device 0, %d of device 1", len(g.provider.regions), len(second.regions))
	}
}

func TestUnknownDevice(t *testing.T) {
	g := newRig(t, 1)
	dom := transport.Domain{UID: alice.UID, Device: 1}
	_, fetch := g.run(t.Context(), autoSource(7, 1), dom, 0, 1, 1)
	_, reserve := g.Reserve(dom, 4096)
	_, device := g.Device(1 << 31)
	for what, err := range map[string]error{"Fetch": fetch, "Reserve": reserve, "Device": device} {
		if !errors.Is(err, ErrNoDevice) || !strings.Contains(err.Error(), "there are 0 (fake)") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
