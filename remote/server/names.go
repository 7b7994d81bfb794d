package server

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"hbmfs/remote/server/store"
	"hbmfs/remote/wire"
	"hbmfs/transport"
	"hbmfs/transport/limits"
	"hbmfs/transport/printable"
)

// delegation is the name of an open file that its mount may believe: the
// [store.Holder] of that.
type delegation struct {
	file  *openFile
	path  string
	share *limits.Share // of delegated names

	mu   sync.Mutex
	held store.Delegation // nil: not yet, or no more
	over bool             // it was recalled, or closed
}

var errBusy = fmt.Errorf("%w: it is being delegated", store.ErrUndelegated)

// delegate has the name delegated that req is about. It reports whether it is, or why
// it is not; "" where the name leads elsewhere.
func (s *session) delegate(ctx context.Context, d *dataset, req *wire.StatRequest) (ok bool, why string) {
	tree, can := d.tree.(store.Delegating)
	f := s.acquire(req.Delegate)
	if f == nil {
		return false, "the file is not open"
	}
	defer f.release()
	switch {
	case !can:
		return false, "the store delegates no names"
	case !f.settled:
		return false, "the file is not settled"
	}
	err := s.logRefusal(f.delegate(ctx, tree, req.Path))
	if err == nil || errors.Is(err, transport.ErrStale) {
		return err == nil, ""
	}
	return false, printable.Line(err.Error(), maxWhy)
}

// undelegated says why no name of d can be delegated; "" means that they can.
func (d *dataset) undelegated() string {
	if d.tree == nil {
		return ""
	}
	if tree, ok := d.tree.(store.Delegating); ok {
		return printable.Line(tree.Undelegated(), maxWhy)
	}
	return "the store delegates no names"
}

func (f *openFile) delegate(ctx context.Context, tree store.Delegating, path []byte) error {
	if !f.naming.TryLock() {
		return errBusy
	}
	defer f.naming.Unlock()
	if f.name != nil && f.name.path == string(path) && f.name.isHeld() {
		return nil
	}
	f.endName()
	d := &delegation{file: f, path: string(path), share: f.session.target.bounds.names.Join(f.session.peer, 0)}
	err := d.share.Acquire(1)
	if err == nil {
		var held store.Delegation
		if held, err = tree.Delegate(ctx, path, f.version, d); err == nil {
			f.name = d
			return d.begin(held)
		}
	}
	d.share.Leave()
	return err
}

// begin takes over held.
func (d *delegation) begin(held store.Delegation) error {
	d.mu.Lock()
	over := d.over
	if !over {
		d.held = held
	}
	d.mu.Unlock()
	if over {
		held.Close()
		d.share.Leave()
		return fmt.Errorf("%w: it is being changed", store.ErrUndelegated)
	}
	return nil
}

func (d *delegation) isHeld() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.over
}

// end gives the name up, once.
func (d *delegation) end() {
	d.mu.Lock()
	held := d.held
	d.held, d.over = nil, true
	d.mu.Unlock()
	if held != nil {
		held.Close()
		d.share.Leave()
	}
}

// endName gives up the file's name, if it is delegated. f.naming is held, or nobody
// has the file.
func (f *openFile) endName() {
	if f.name != nil {
		f.name.end()
		f.name = nil
	}
}

// Revoke implements [store.Holder]: as for a version, whoever changes what the name
// leads to goes on once the mount can't believe it any more.
func (d *delegation) Revoke() (released func()) {
	d.mu.Lock()
	d.over = true
	d.mu.Unlock()
	wait := d.file.session.release(d.file.session.out.recall(d.file.handle))
	return func() {
		wait()
		d.end()
	}
}
