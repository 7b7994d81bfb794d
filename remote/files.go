package remote

import (
	"context"
	"sync"

	"hbmfs/remote/session"
	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// fileTable is the files that are open, or are being opened, by their handles.
type fileTable struct {
	sessions *session.Current
	mu       sync.Mutex // guards all below, and isOpen of each file
	last     uint64
	files    map[uint64]*File
}

func newFileTable(s *session.Current) *fileTable {
	return &fileTable{sessions: s, files: make(map[uint64]*File)}
}

// add gives a file its handle, which no other will ever have: whatever the target
// says of it, in any session, is about f.
func (t *fileTable) add(f *File) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last++
	f.handle = t.last
	t.files[f.handle] = f
}

// opened says that f is open in the session s, unless that is gone already.
func (t *fileTable) opened(f *File, s *session.Session) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if cur, _ := t.sessions.Get(); cur != s {
		return transport.ErrSession
	}
	f.isOpen = true
	return nil
}

// find returns the file that has the handle in the session s, or nil.
func (t *fileTable) find(s *session.Session, handle uint64) *File {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.files[handle]; f != nil && f.session.Load() == s {
		return f
	}
	return nil
}

// remove forgets a file, and returns whether it was open.
func (t *fileTable) remove(f *File) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.files, f.handle)
	return f.isOpen
}

// live returns the files that the next session has to open. There is no current
// one, so that none comes to be open before the next is.
func (t *fileTable) live() []*File {
	t.mu.Lock()
	defer t.mu.Unlock()
	files := make([]*File, 0, len(t.files))
	for _, f := range t.files {
		if f.isOpen && !f.Stale() {
			files = append(files, f)
		}
	}
	return files
}

// move says that f is about to be opened in the session s. It returns false if it
// was closed.
func (t *fileTable) move(f *File, s *session.Session) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.files[f.handle] != f {
		return false
	}
	f.session.Store(s)
	return true
}

// tellClosed has the target close handles.
func (t *Target) tellClosed(ctx context.Context, handles []uint64) error {
	return t.memories.ask(ctx, newAsk(&wire.Ask{What: &wire.Ask_Close{Close: &wire.CloseRequest{Handles: handles}}}))
}
