package errnos

import (
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Counts counts errnos. The zero Counts is ready; its methods may be called
// concurrently.
type Counts struct {
	mu sync.Mutex
	n  map[syscall.Errno]int64 // guarded by mu
}

// Add counts one more.
func (c *Counts) Add(errno syscall.Errno) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = make(map[syscall.Errno]int64)
	}
	c.n[errno]++
}

// ByName returns the counts, such as that of "EIO".
func (c *Counts) ByName() map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := make(map[string]int64, len(c.n))
	for errno, n := range c.n {
		names[unix.ErrnoName(errno)] = n
	}
	return names
}
