package main

import (
	"fmt"
	"io"

	"hbmfs/cache"
	"hbmfs/cache/device"
)

// pools opens the devices, and refuses pools that they have no room for: now, and
// those of each further user when they are made. Where that is not wanted, it warns.
func (o *mountOptions) pools(stderr io.Writer) ([]cache.Device, error) {
	providers := make([]device.Provider, 0, len(o.devices))
	for _, name := range o.devices {
		p, err := device.Open(name)
		if err != nil {
			return nil, err
		}
		providers = append(providers, p)
	}
	err := device.CheckRoom(int64(o.pool), providers...)
	switch {
	case err != nil && !o.overcommit:
		return nil, fmt.Errorf("--pool %s: %w; or give a smaller --pool, or --overcommit-pool", &o.pool, err)
	case err != nil:
		fmt.Fprintf(stderr, "hbmfs: warning: --pool %s: %s\n", &o.pool, shownText(err.Error()))
	}
	all := make([]cache.Device, 0, len(providers))
	for _, p := range providers {
		if !o.overcommit {
			p = device.Bounded(p)
		}
		all = append(all, cache.Device{Provider: p, Pool: int64(o.pool)})
	}
	return all, nil
}
