package main

import (
	"fmt"
	"sync/atomic"

	"hbmfs/cache"
	"hbmfs/transport"
)

// lendMemory gives transports that lend the memory for it, out of the cache. They
// are made before the cache is, and lend when it is there.
type lendMemory struct{ cache atomic.Pointer[cache.Cache] }

// from says which cache.
func (l *lendMemory) from(c *cache.Cache) { l.cache.Store(c) }

// reserve is a [transport.ReserveFunc].
func (l *lendMemory) reserve(dom transport.Domain, size int64) (transport.LoanMemory, error) {
	c := l.cache.Load()
	if c == nil {
		return nil, fmt.Errorf("memory for loans: %w: the mount is not complete", transport.ErrNoLoan)
	}
	r, err := c.Reserve(dom, size)
	if err != nil {
		return nil, fmt.Errorf("memory for loans: %w", err)
	}
	return r, nil
}
