package remote

import (
	"context"
	"fmt"
	"os"

	"hbmfs/remote/links"
	"hbmfs/remote/session"
	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// maxKept bounds the files that stay open at the target though no program has them open.
const maxKept = 1 << 16

// openSession opens a session with its events stream, but no link.
func (c *connector) openSession(ctx context.Context) (*session.Session, error) {
	req := &wire.OpenSessionRequest{Protocol: wire.Protocol, Client: clientName()}
	for _, name := range c.cfg.Datasets {
		req.Datasets = append(req.Datasets, []byte(name))
	}
	reply, err := c.control.OpenSession(ctx, req)
	if err != nil {
		return nil, c.conn.Error(err)
	}
	c.counters.roundTrips.Add(1)
	s, err := session.New(reply, c.cfg.Clock)
	if err != nil {
		return nil, err
	}
	if err := c.startEvents(ctx, s); err != nil {
		return nil, err
	}
	closeAll(c.kept.SetRoom(int(min(reply.Keep, maxKept))))
	s.Links = links.NewSession(s.Context(), c.toDial(reply), reply.Transports)
	c.counters.sessions.Add(1)
	return s, nil
}

// toDial is by what links of the session are made.
func (c *connector) toDial(reply *wire.OpenSessionReply) transport.Session {
	return transport.Session{
		Addr:        c.cfg.Addr,
		ID:          transport.SessionID(reply.Session),
		Secret:      transport.Secret(reply.Secret),
		TLS:         c.cfg.TLS,
		Connections: c.cfg.Connections,
		Checksums:   c.cfg.Checksums,
		Timeout:     c.cfg.Timeout / 2, // so that one more try fits

		RequireDirect: c.cfg.RequireDirect,
	}
}

func clientName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%s pid %d", host, os.Getpid())
}
