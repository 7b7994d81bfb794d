package lookups

import (
	"sync/atomic"
	"time"
)

// Beliefs are until when the kernel may believe names of inodes: whoever opens one by
// such a name has not looked it up. Inodes may share a place, so that one is taken to be
// believed for as long as another is. The zero value is nobody's.
type Beliefs struct{ until [1 << 14]atomic.Int64 }

func (b *Beliefs) of(ino uint64) *atomic.Int64 { return &b.until[ino%uint64(len(b.until))] }

// Add notes that a name of an inode may be believed until then, by the caller's clock.
func (b *Beliefs) Add(ino uint64, until time.Duration) {
	at := b.of(ino)
	for {
		now := at.Load()
		if now >= int64(until) || at.CompareAndSwap(now, int64(until)) {
			return
		}
	}
}

// Ended reports whether no name of the inode was believed any more at a time.
func (b *Beliefs) Ended(ino uint64, at time.Duration) bool { return int64(at) > b.of(ino).Load() }
