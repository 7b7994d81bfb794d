package buffers

import (
	"context"
	"fmt"
	"slices"
	"time"

	"hbmfs/cache"
)

// stray is what a fill that nobody waits for any more may still write. The program may not
// know of it: Go's runtime, and others, make a call again that a signal has broken off.
type stray struct {
	at, end int64 // in the buffer
	over    chan struct{}
}

// leftBehind enters a stray.
func (b *Buffer) leftBehind(at, n int64) *stray {
	s := &stray{at, at + n, make(chan struct{})}
	b.table.mu.Lock()
	defer b.table.mu.Unlock()
	b.strays = append(b.strays, s)
	return s
}

// strayEnded says that nothing of a stray is under way any more.
func (b *Buffer) strayEnded(s *stray) {
	b.table.mu.Lock()
	b.strays = slices.DeleteFunc(b.strays, func(other *stray) bool { return other == s })
	b.table.mu.Unlock()
	close(s.over)
}

// strayIn returns a stray that may write to a range.
func (b *Buffer) strayIn(at, n int64) *stray {
	b.table.mu.Lock()
	defer b.table.mu.Unlock()
	for _, s := range b.strays {
		if s.at < at+n && at < s.end {
			return s
		}
	}
	return nil
}

// awaitStrays waits until no fill that was broken off writes to a range any more, which
// would be over what comes next.
func (b *Buffer) awaitStrays(ctx context.Context, at, n int64) error {
	s := b.strayIn(at, n)
	if s == nil {
		return nil
	}
	late := time.NewTimer(b.table.cfg.Timeout)
	defer late.Stop()
	for ; s != nil; s = b.strayIn(at, n) {
		select {
		case <-s.over:
		case <-ctx.Done():
			return ctx.Err()
		case <-late.C:
			return fmt.Errorf("%w: what was broken off goes on for %v", cache.ErrOverdue, b.table.cfg.Timeout)
		}
	}
	return nil
}
