package remote

import (
	"context"

	"hbmfs/remote/wire"
)

// closeBatch is how many handles one call closes.
const closeBatch = 4096

// unregister forgets a file, and has its handle closed.
func (t *Target) unregister(f *File) {
	t.mu.Lock()
	delete(t.files, f)
	s := f.session
	if s.files[f.handle] == f {
		delete(s.files, f.handle)
		s.closing = append(s.closing, f.handle)
	}
	t.mu.Unlock()
	t.askCloser()
}

func (t *Target) askCloser() {
	select {
	case t.closer <- struct{}{}:
	default:
	}
}

// closeHandles tells the target of closed files. While a call is under way the
// next handles gather.
func (t *Target) closeHandles() {
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-t.closer:
		}
		for s, handles := t.takeClosing(); len(handles) > 0; s, handles = t.takeClosing() {
			if t.closeAt(s, handles) != nil && !t.pause(minRetry) {
				return
			}
		}
	}
}

// takeClosing returns the handles of the current session that are to be closed.
// Those of an earlier one went with it.
func (t *Target) takeClosing() (*session, []uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cur == nil {
		return nil, nil
	}
	all := t.cur.closing
	n := min(len(all), closeBatch)
	t.cur.closing = all[n:]
	return t.cur, all[:n:n]
}

// closeAt closes handles at the target, or puts them back.
func (t *Target) closeAt(s *session, handles []uint64) error {
	ctx, cancel := context.WithTimeout(t.ctx, t.cfg.Timeout)
	defer cancel()
	_, err := t.control.Close(ctx, &wire.CloseRequest{Session: s.id, Handles: handles})
	if err = fromStatus(err); needsSession(err) {
		t.fail(s, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		s.closing = append(s.closing, handles...)
		return err
	}
	t.counters.roundTrips.Add(1)
	for _, h := range handles {
		delete(s.early, h)
	}
	return nil
}
