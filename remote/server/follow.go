package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"hbmfs/remote/server/store"
)

// lookPatience bounds how long a new session waits for a look at what is there:
// its storage may not answer.
const lookPatience = time.Second

// follow has e lead to what its store does, until the target is closed.
func (t *Server) follow(e *export) {
	defer close(e.done)
	e.Store.Follow(t.ctx, func(now store.Tree, why error) {
		if why != nil {
			t.serveNext(e, e.cur.lost(why))
			return
		}
		t.serveNext(e, &dataset{name: e.Name, info: now.Info(), tree: now})
	})
}

// serveNext gives new sessions d, and ends those that have what was there
// before: their mounts open new ones.
func (t *Server) serveNext(e *export, d *dataset) {
	t.mu.Lock()
	if t.sessions == nil {
		t.mu.Unlock()
		d.close()
		return
	}
	was := e.cur
	e.cur = d
	var over []*session
	for _, s := range t.sessions {
		if s.datasets[e.Name] == was {
			over = append(over, s)
		}
	}
	t.mu.Unlock()
	why := replaced(was, d)
	t.cfg.Log.Warn("export changed", "dataset", e.Name, "what", why, "sessions", len(over))
	for _, s := range over {
		s.end(fmt.Sprintf("dataset %q %s", e.Name, why))
	}
	was.close()
}

func replaced(was, now *dataset) string {
	switch {
	case now.gone != "":
		return "is gone: " + now.gone
	case was.gone != "":
		return "is back"
	}
	return "was replaced: its path leads to another directory or file"
}

// lookNow returns once each export was looked at, or has had time enough. The
// error is of one that must not be served.
func (t *Server) lookNow(ctx context.Context, exports []*export) error {
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	errs := make([]error, len(exports))
	var looks sync.WaitGroup
	for i, e := range exports {
		looks.Go(func() {
			if err := e.Store.Look(ctx); err != nil {
				errs[i] = fmt.Errorf("dataset %q: %w", e.Name, err)
			}
		})
	}
	looks.Wait()
	return errors.Join(errs...)
}

// closeExports is for when there are no sessions any more. A look that blocks is
// left behind.
func (t *Server) closeExports() {
	ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	for _, e := range t.exports {
		select {
		case <-e.done:
		case <-ctx.Done():
		}
		e.cur.close()
	}
}
