package remote

import (
	"context"
	"fmt"

	"hbmfs/transport"
)

// openedAs is by what a kept file is found.
type openedAs struct{ dataset, path string }

func (f *File) openedAs() openedAs { return openedAs{f.dataset, f.path} }

// Keeps returns in which version [Target.Reopen] is likely to have a file; false if it
// has none.
func (t *Target) Keeps(dataset, path string) (v transport.Version, ok bool) {
	f, ok := t.kept.Find(openedAs{dataset, path})
	if ok {
		v = f.attr.Version
	}
	return v, ok
}

// Reopen returns a file that was closed here and stays open at the target in this version,
// or false. It asks nothing: the caller knows that the name still leads to the version.
func (t *Target) Reopen(dataset, path string, v transport.Version) (*File, bool) {
	f, ok := t.kept.Find(openedAs{dataset, path})
	switch {
	case !ok || f.attr.Version != v || !t.kept.Remove(f.openedAs(), f):
		return nil, false
	case f.Stale():
		f.release()
		return nil, false
	}
	f.closed.Store(false)
	t.counters.reopens.Add(1)
	return f, true
}

// openKept is Open for a version that is kept: it asks for attributes only. It reports
// false if there is none.
func (t *Target) openKept(ctx context.Context, dataset, path string, v transport.Version) (*File, bool, error) {
	if kept, ok := t.Keeps(dataset, path); !ok || kept != v {
		return nil, false, nil
	}
	a, asked, err := t.stat(ctx, dataset, path)
	if err != nil {
		return nil, true, err
	}
	if a.Version != v {
		return nil, true, fmt.Errorf("%s/%s: %w since it was looked up", dataset, path, transport.ErrStale)
	}
	f, ok := t.Reopen(dataset, path, v)
	if ok && !asked {
		t.counters.unasked.Add(1)
	}
	return f, ok, nil
}

// keep has f stay open at the target though no program has it open any more. It reports
// false if f is to be closed there. Only a change that is told of can end that.
func (t *Target) keep(f *File) bool {
	cur, _ := t.sessions.Get() // in another it would have to be opened again
	if cur == nil || f.session.Load() != cur || !f.settled || f.Stale() || f.orphan.Load() {
		return false
	}
	f.OnStale(func() { t.letGo(f) })
	if out, ok := t.kept.Put(f.openedAs(), f); ok {
		if out == f {
			return false
		}
		out.release()
	}
	if f.Stale() || f.orphan.Load() { // before it was kept
		t.letGo(f)
	}
	return true
}

// letGo closes f, if it is kept.
func (t *Target) letGo(f *File) {
	if t.kept.Remove(f.openedAs(), f) {
		f.release()
	}
}

// closeAll closes files that were kept.
func closeAll(files []*File) {
	for _, f := range files {
		f.release()
	}
}
