package tcp

import (
	"log/slog"
	"net"
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

func TestConformance(t *testing.T) {
	transporttest.Run(t, transporttest.Harness{
		Start: func(t *testing.T, source transport.Source) (transport.Transport, transport.Session) {
			return New(false), startTarget(t, source).session
		},
		Faulty: func(t *testing.T, source transport.Source, fault transporttest.Fault) (transport.Transport, transport.Session, func()) {
			s := startTarget(t, source).session
			p := startProxy(t, s.Addr, fault)
			s.Addr = p.addr
			return New(false), s, p.heal
		},
		Counted: func(t *testing.T, source transport.Source) (transport.Transport, transport.Session, func() int) {
			var segments transporttest.Segments
			s := startTarget(t, source, segments.Wrap).session
			return New(false), s, func() int { return segments.Count(t) }
		},
		Checksums: true,
	})
}

// target is a server behind a listener of its own, with one session.
type target struct {
	sessions *transporttest.Sessions
	server   *Server
	session  transport.Session
}

// startTarget serves source on loopback until the test ends.
func startTarget(t testing.TB, source transport.Source, wrap ...func(net.Conn) net.Conn) *target {
	t.Helper()
	g := &target{sessions: transporttest.NewSessions()}
	g.session = g.sessions.Open(source)
	g.server = NewServer(g.sessions, transporttest.Ample(), slog.New(slog.DiscardHandler))
	g.session.Addr = transporttest.Listen(t, func(c net.Conn) {
		for _, w := range wrap {
			c = w(c)
		}
		g.server.ServeConn(t.Context(), c, nil)
	})
	t.Cleanup(func() { g.server.Close() })
	return g
}
