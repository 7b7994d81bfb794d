package server

import (
	"time"

	"hbmfs/remote/server/store"
	"hbmfs/remote/wire"
)

// lookForUnlinked is how often open files are looked at, whether a name still leads to
// them: one that no program has open any more would take the place of its content.
const lookForUnlinked = 10 * time.Second

// mayKeep is how many files a mount may keep open that no program has open any more:
// three quarters of what a client may have while it is alone, in files.
func (b *bounds) mayKeep() uint32 { return uint32(b.files.limit.All * 3 / 8) }

// isCrowded reports whether there is little room left for open files.
func (b *bounds) isCrowded() bool { return b.files.limit.Used() > b.files.limit.All*3/4 }

// watchCrowd has mounts close what they only keep, before anyone is refused a file.
func (t *Server) watchCrowd() {
	if !t.bounds.isCrowded() {
		return
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, s := range t.sessions {
		s.out.crowd()
	}
}

// watchUnlinked tells mounts of files that no name leads to any more, until the target
// is closed. It does not return while storage does not answer.
func (t *Server) watchUnlinked() {
	ticks := time.NewTicker(lookForUnlinked)
	defer ticks.Stop()
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-ticks.C:
			t.tellUnlinked()
		}
	}
}

func (t *Server) tellUnlinked() {
	t.mu.RLock()
	all := make([]*session, 0, len(t.sessions))
	for _, s := range t.sessions {
		all = append(all, s)
	}
	t.mu.RUnlock()
	for _, s := range all {
		for _, f := range s.unlinked() {
			s.out.tell(&wire.Event{Unlinked: f.handle})
		}
	}
}

// unlinked returns those of the open files that no name leads to any more, each once.
func (s *session) unlinked() (found []*openFile) {
	for _, f := range s.openFiles() {
		if o, ok := f.object.(store.Linked); ok && !o.Linked() && f.unlinked.CompareAndSwap(false, true) {
			found = append(found, f)
		}
		f.release()
	}
	return found
}

// openFiles returns a reference to each.
func (s *session) openFiles() []*openFile {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]*openFile, 0, len(s.handles))
	for _, f := range s.handles {
		f.refs.Add(1) // the table has one
		all = append(all, f)
	}
	return all
}
