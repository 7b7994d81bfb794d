package remote

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"hbmfs/remote/closing"
	"hbmfs/remote/control"
	"hbmfs/remote/namespace"
	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// connector makes sessions with their links: the first one, and one in the place
// of each that fails.
type connector struct {
	*caller
	files    *fileTable
	memories *memories
	closer   *closing.Closer
	kept     *closing.Kept[openedAs, *File]
	conn     *control.Conn

	ctx     context.Context // ends with the target's Close
	workers *sync.WaitGroup // waited for then

	datasets []namespace.Dataset       // set by connect
	roots    map[string]namespace.Root // of the last session; for who makes sessions
}

func newConnector(t *Target) (*connector, error) {
	c := &connector{
		caller: t.caller, files: t.files, memories: t.memories, closer: t.closer, kept: t.kept,
		ctx: t.ctx, workers: &t.workers,
	}
	var err error
	if c.conn, err = control.New(c.cfg.Addr, c.cfg.TLS, c.cfg.DialControl, c.outage.Dialled); err != nil {
		return nil, err
	}
	c.control = wire.NewControlClient(c.conn)
	return c, nil
}

// connect makes the first session, within the time-out.
func (c *connector) connect(ctx context.Context) error {
	inner, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	err := c.connectOnce(inner)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = fmt.Errorf("%w: no answer within %v", transport.ErrConnLost, c.cfg.Timeout)
	}
	return err
}

func (c *connector) connectOnce(ctx context.Context) error {
	s, err := c.openSession(ctx)
	if err != nil {
		return err
	}
	c.datasets = s.Datasets
	if err := c.memories.begin(ctx, s); err != nil {
		s.Abandon()
		return err
	}
	if err := c.sessions.Install(s); err != nil {
		return err
	}
	c.installed(s)
	return nil
}
