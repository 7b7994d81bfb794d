package fs

import (
	"sync"
	"time"

	"hbmfs/cache"
)

// openFiles are the files that programs have open, by version. What the kernel
// keeps of a version, pages and attributes, is only good for as long as one of
// them can be vouched for.
type openFiles struct {
	mu    sync.Mutex
	byKey map[cache.FileKey][]*handle
}

func (o *openFiles) add(h *handle) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.byKey == nil {
		o.byKey = make(map[cache.FileKey][]*handle)
	}
	o.byKey[h.src.key] = append(o.byKey[h.src.key], h)
}

func (o *openFiles) remove(h *handle) {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := o.byKey[h.src.key]
	for i, other := range all {
		if other == h {
			all[i] = all[len(all)-1]
			all = all[:len(all)-1]
			break
		}
	}
	if len(all) == 0 {
		delete(o.byKey, h.src.key)
		return
	}
	o.byKey[h.src.key] = all
}

// judge returns the open file of the version that tells most about it: one that
// is stale, or else settled, or any. It is nil if there is none.
func (o *openFiles) judge(key cache.FileKey) *handle {
	o.mu.Lock()
	defer o.mu.Unlock()
	var found *handle
	for _, h := range o.byKey[key] {
		if h.src.file.Stale() {
			return h
		}
		if found == nil || h.src.settled {
			found = h
		}
	}
	return found
}

// pageTrust is for how long the kernel may read from pages of an open file without
// asking. It counts from when it gets the answer: a daemon that is stopped between
// looking at its term and answering is believed so much too long.
const pageTrust = 20 * time.Millisecond

// believeFor returns for how long the kernel may believe the attributes of a
// version, and with them the pages that it has: as long as the mount may vouch
// for what is open, and not at all once a file of that version changed, or where
// that would go unnoticed. One that is open and not stale yet invalidates them
// when it turns stale; one that was before will not do it again.
func (t *tree) believeFor(key cache.FileKey) time.Duration {
	left := max(t.target.TermLeft(), 0)
	switch h := t.open.judge(key); {
	case h == nil:
		return left
	case !h.src.settled || h.src.file.Stale():
		return 0
	}
	return min(left, pageTrust)
}
