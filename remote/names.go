package remote

import (
	"context"
	"time"

	"hbmfs/remote/namespace"
	"hbmfs/remote/session"
	"hbmfs/remote/wire"
)

// A name that the target has delegated can be believed, as a version can be vouched for:
// while the mount has a term, and was not told otherwise. That is asked for when a file
// that is kept is looked for once more, since then it may be again.

// askAgain is for how long the target is not asked again to delegate a name that it would
// not: it looks at what is on the way each time, and mostly has the same reason.
const askAgain = time.Second

// isNamed reports whether the name of f led to it, with the attributes that it was opened
// with but for atime, at some moment from since on.
func (f *File) isNamed(since Moment) bool {
	if !f.acquire() { // nobody would tell it of a recall
		return false
	}
	defer f.release()
	s := f.t.sessions.Vouching()
	if s == nil || s.Term.Left(time.Duration(since)) <= 0 {
		return false
	}
	// After the term was looked at, as for the version.
	return f.named.Load() == s && !f.Stale()
}

// Delegated reports whether a file is kept by a name that need not be asked for.
func (t *Target) Delegated(dataset, path string) bool {
	f, ok := t.kept.Find(openedAs{dataset, path})
	return ok && f.isNamed(t.Now())
}

// known returns the attributes of a file that is kept, if its name need not be asked for.
func (t *Target) known(f *File) (namespace.Attr, bool) {
	now := t.Now()
	if !f.isNamed(now) {
		return namespace.Attr{}, false
	}
	f.VouchAhead(now)
	return f.attr, true
}

// askStat asks for attributes. Where f is kept by that name, it is to be delegated.
func (t *Target) askStat(ctx context.Context, dataset, path string, f *File) (namespace.Attr, error) {
	req := &wire.StatRequest{Dataset: []byte(dataset), Path: []byte(path)}
	a := newAsk(&wire.Ask{What: &wire.Ask_Stat{Stat: req}})
	if f != nil && t.delegates(dataset) && f.wantsName(t.Now()) {
		req.Delegate, a.names = f.handle, f
	}
	if err := t.memories.ask(ctx, a); err != nil {
		return namespace.Attr{}, err
	}
	return namespace.DecodeAttr(a.answer.GetStat().GetAttr())
}

// delegates reports whether the target may delegate names of a dataset.
func (t *Target) delegates(dataset string) bool {
	s := t.sessions.Vouching()
	return s != nil && s.Roots[dataset].Undelegated == ""
}

// delegations returns how many names of open files are delegated, and why the latest one
// that is not isn't; "" if there was none.
func (t *Target) delegations() (n int, why string) {
	s := t.sessions.Vouching()
	if s == nil {
		return 0, ""
	}
	for _, f := range t.files.live() {
		if f.named.Load() == s {
			n++
		}
	}
	if last := t.counters.undelegated.Load(); last != nil {
		return n, *last
	}
	for _, r := range s.Roots {
		why = max(why, r.Undelegated)
	}
	return n, why
}

// wantsName reports whether the target may be asked to delegate the name of f.
func (f *File) wantsName(now Moment) bool { return int64(now) >= f.unnamed.Load() }

// recalls returns how often the name of f was recalled.
func (f *File) recalls() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.recalled
}

// delegated takes the answer to a question that wanted the name of f delegated, in the
// session s. The event that recalls it may have come before: then there were more recalls
// than when the question was sent.
func (f *File) delegated(s *session.Session, r *wire.StatReply, recalls uint64) {
	if !r.Delegated {
		if r.Undelegated != "" {
			f.t.counters.undelegated.Store(&r.Undelegated)
			f.unnamed.Store(int64(f.t.Now()) + int64(askAgain))
		}
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.recalled == recalls && f.session.Load() == s && string(r.GetAttr().GetVersion()) == string(f.attr.Version[:]) {
		f.named.Store(s)
	}
}

// recall is told that the name of f is not delegated any more.
func (f *File) recall() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.recalled++
	f.named.Store(nil)
}
