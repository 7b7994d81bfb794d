package prefetch

import (
	"slices"
	"syscall"
	"time"

	"hbmfs/remote/namespace"
)

// branch is a directory with subdirectories that was listed.
type branch struct {
	subdirs []string  // names, in the order listed
	pos     int       // of the one that a run began with last
	used    time.Time // when it, or something below it, was listed last
}

// after returns the subdirectories that come after name.
func (b *branch) after(name string) []string {
	i := slices.Index(b.subdirs[b.pos:], name) + b.pos
	if i < b.pos {
		i = slices.Index(b.subdirs, name)
	}
	if i < 0 {
		return nil
	}
	b.pos = i
	return b.subdirs[i+1:]
}

// markUsed keeps the branches that lead to d in mind. It reports whether d's parent
// is one of them.
func (w *walks) markUsed(d dir, now time.Time) (walking bool) {
	up, _, ok := d.parent()
	walking = ok && w.markUsedAt(up, now)
	for level := 0; ok && level < maxLevels; level++ {
		w.markUsedAt(up, now)
		up, _, ok = up.parent()
	}
	return walking
}

func (w *walks) markUsedAt(d dir, now time.Time) bool {
	b := w.seen[d]
	if b == nil || now.Sub(b.used) > walkPause {
		return false
	}
	b.used = now
	return true
}

// noteSubdirs notes which subdirectories d has.
func (w *walks) noteSubdirs(d dir, entries []namespace.Entry) {
	var subdirs []string
	for i := range entries {
		if entries[i].Attr.Mode&syscall.S_IFMT == syscall.S_IFDIR {
			subdirs = append(subdirs, entries[i].Name)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop(d)
	if len(subdirs) == 0 || len(subdirs) > maxNames || w.closed {
		return
	}
	if w.names+len(subdirs) > maxNames {
		clear(w.seen)
		w.names = 0
	}
	w.seen[d] = &branch{subdirs: subdirs, used: time.Now()}
	w.names += len(subdirs)
	w.arm()
}

func (w *walks) drop(d dir) {
	if b := w.seen[d]; b != nil {
		delete(w.seen, d)
		w.names -= len(b.subdirs)
	}
}
