package lookups

import "sync/atomic"

// Habit is whether what could follow mostly does: an open after a lookup, or a fetch
// after an open. It is expected once it has come, and no more after it has failed to a
// few times. The zero value expects nothing.
type Habit struct{ n atomic.Int32 }

const (
	gain = 2 // of one that came; each time that it could costs one
	top  = 8
)

// Asks notes that it could come now, and reports whether it is expected to.
func (h *Habit) Asks() bool {
	n := h.n.Load()
	if n > 0 {
		h.n.CompareAndSwap(n, n-1)
	}
	return n >= gain
}

// Came notes that it did.
func (h *Habit) Came() {
	if n := h.n.Load(); n < top {
		h.n.CompareAndSwap(n, n+gain)
	}
}
