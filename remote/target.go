package remote

import (
	"context"
	"fmt"
	"sync"

	"hbmfs/remote/closing"
	"hbmfs/remote/namespace"
	"hbmfs/remote/prefetch"
	"hbmfs/remote/session"
	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// Target is a mount's hold on one target. All methods may be called
// concurrently.
type Target struct {
	*caller
	files     *fileTable
	memories  *memories
	closer    *closing.Closer
	kept      *closing.Kept[openedAs, *File]
	connector *connector
	lister    *prefetch.Lister

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	close   func() error
	workers sync.WaitGroup
}

// Connect opens a session, and dials a link by each transport that serves a device
// best. It tries once: the error wraps [transport.ErrConnLost] if the target can't be
// reached, [control.ErrRefused] if it does not want this mount, or is
// [transport.Select]'s.
func Connect(ctx context.Context, cfg Config) (*Target, error) {
	c := newCaller(cfg.withDefaults())
	t := &Target{
		caller:   c,
		files:    newFileTable(c.sessions),
		memories: newMemories(c),
		kept:     closing.NewKept[openedAs, *File](),
		lister:   prefetch.New(listTarget{c}),
	}
	t.closer = closing.NewCloser(t.tellClosed)
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.close = sync.OnceValue(t.shut)
	var err error
	if t.connector, err = newConnector(t); err != nil {
		return nil, err
	}
	if err := t.connector.connect(ctx); err != nil {
		t.cancel()
		t.workers.Wait()
		t.connector.conn.Close()
		return nil, fmt.Errorf("target %s: %w", cfg.Addr, err)
	}
	t.workers.Go(t.connector.run)
	t.workers.Go(func() { t.kept.Run(t.ctx, closeAll) })
	for range closing.Closers {
		t.workers.Go(func() { t.closer.Run(t.ctx) })
	}
	return t, nil
}

// Datasets returns what the session serves.
func (t *Target) Datasets() []namespace.Dataset { return t.connector.datasets }

// Transports returns what is known of the candidates, by their numbers.
func (t *Target) Transports() []transport.Verdict { return t.memories.Verdicts() }

// IsAway reports whether the target is known not to answer.
func (t *Target) IsAway() bool { return t.outage.IsOn() }

// Attach prepares mem, which must be comparable, as a destination, now and in each
// new session, of the link that serves it best: one by a further transport is dialled
// if it takes that. While the target is away it returns nil: the next session has it.
// The error wraps [transport.ErrNotDirect] if there is no such path into mem as is
// required, and is [transport.Link]'s, or what dialling failed with.
func (t *Target) Attach(ctx context.Context, mem transport.Memory) error {
	return t.memories.attach(ctx, mem)
}

// Detach undoes Attach. No request into mem may be under way.
func (t *Target) Detach(mem transport.Memory) error { return t.memories.Detach(mem) }

// Close ends the session. When it returns, every request has completed. Every call
// returns what the first one did.
func (t *Target) Close() error { return t.close() }

func (t *Target) shut() error {
	last := t.sessions.Close()
	closeAll(t.kept.SetRoom(0))
	t.memories.queues.close()
	if last != nil {
		t.sessions.Retire(last)
		last.Goodbye()
	}
	t.cancel()
	t.lister.Close()
	t.workers.Wait()
	t.sessions.RetireLost()
	t.memories.DetachAll()
	t.memories.queues.drain()
	t.log.Close()
	return t.connector.conn.Close()
}

// Stat returns the attributes of what path names in the dataset; a symbolic link
// is not followed. An empty path is the root. The error wraps a [syscall.Errno]
// of the target's, or [transport.ErrConnLost]. It asks nothing where a file is kept by a
// name that the target has delegated.
func (t *Target) Stat(ctx context.Context, dataset, path string) (namespace.Attr, error) {
	a, _, err := t.stat(ctx, dataset, path)
	return a, err
}

// stat is Stat, and reports whether it asked.
func (t *Target) stat(ctx context.Context, dataset, path string) (a namespace.Attr, asked bool, err error) {
	f, ok := t.kept.Find(openedAs{dataset, path})
	if ok {
		if a, ok := t.known(f); ok {
			return a, false, nil
		}
	}
	a, err = t.askStat(ctx, dataset, path, f)
	return a, true, err
}

// Statfs describes the file system that the dataset is on.
func (t *Target) Statfs(ctx context.Context, dataset string) (namespace.Statfs, error) {
	var st namespace.Statfs
	err := t.call(ctx, func(ctx context.Context, s *session.Session) error {
		r, err := t.control.Statfs(ctx, &wire.StatfsRequest{Session: s.ID, Dataset: []byte(dataset)})
		if err != nil {
			return err
		}
		st = namespace.Statfs{
			Blocks: r.Blocks, Bfree: r.Bfree, Bavail: r.Bavail,
			Files: r.Files, Ffree: r.Ffree,
			Bsize: r.Bsize, Namelen: r.Namelen, Frsize: r.Frsize,
		}
		return nil
	})
	return st, err
}
