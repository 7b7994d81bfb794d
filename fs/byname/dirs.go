package byname

import (
	"context"
	"errors"
	"sync"
	"time"

	"hbmfs/remote/namespace"
)

// maxDirs is how many paths a [Dirs] knows.
const maxDirs = 1 << 14

// Dirs are the attributes of the directories that files were opened beneath, of symbolic
// links on the way, and, where names are vouched for, of files that had stayed open at
// the target, of one mount. They may be as old as the kernel may believe them. Its
// methods may be called concurrently.
type Dirs struct {
	timeout time.Duration

	mu    sync.Mutex
	known map[place]*known
}

type place struct{ dataset, path string }

// known is what is known of a path, or asked for.
type known struct {
	at    time.Time     // when it was asked for
	ended chan struct{} // closed once what follows is set
	attr  namespace.Attr
	err   error
}

// NewDirs returns an empty one. timeout is for how long attributes may be believed.
func NewDirs(timeout time.Duration) *Dirs {
	return &Dirs{timeout: timeout, known: make(map[place]*known)}
}

// Stat returns the attributes of a path, and asks stat for them once for all who want to
// know them then. What failed is not kept.
func (d *Dirs) Stat(ctx context.Context, dataset, path string, stat func(context.Context, string) (namespace.Attr, error)) (*namespace.Attr, error) {
	for {
		k, isFirst := d.get(place{dataset, path})
		if isFirst {
			k.attr, k.err = stat(ctx, path)
			if k.err != nil {
				d.forget(place{dataset, path}, k)
			}
			close(k.ended)
			return &k.attr, k.err
		}
		select {
		case <-k.ended:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if !isGivenUp(k.err) {
			return &k.attr, k.err
		}
	}
}

// isGivenUp reports whether err is of who asked: others ask for themselves.
func isGivenUp(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// get returns what is known of a place, or what is to be found out by the caller.
func (d *Dirs) get(p place) (k *known, isFirst bool) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if k := d.known[p]; k != nil && now.Sub(k.at) < d.timeout {
		return k, false
	}
	if len(d.known) >= maxDirs {
		clear(d.known) // those who wait have theirs
	}
	k = &known{at: now, ended: make(chan struct{})}
	d.known[p] = k
	return k, true
}

func (d *Dirs) forget(p place, k *known) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known[p] == k {
		delete(d.known, p)
	}
}
