package devmemtcp

import (
	"io"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

// target is a server behind a listener of its own, with one session.
type target struct {
	sessions *transporttest.Sessions
	server   *Server
	session  transport.Session
	conns    transporttest.Cutter
}

// listener calls serve with each connection to the address it returns, until the
// test ends.
type listener func(t testing.TB, serve func(net.Conn)) string

// loopback is where ordinary connections lead.
var loopback listener = transporttest.Listen

// startTarget serves source until the test ends.
func startTarget(t testing.TB, source transport.Source, listen listener) *target {
	t.Helper()
	g := newTarget(t, source)
	g.session.Addr = listen(t, func(c net.Conn) { g.serve(t, c) })
	return g
}

func newTarget(t testing.TB, source transport.Source) *target {
	g := &target{sessions: transporttest.NewSessions()}
	g.session = g.sessions.Open(source)
	g.session.Connections, g.session.Timeout = 1, 20*time.Second
	g.server = NewServer(g.sessions, transporttest.Ample(), slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	t.Cleanup(func() { g.server.Close() })
	return g
}

// serve tells the kinds of connections apart, as a target's listener does.
func (g *target) serve(t testing.TB, c net.Conn) {
	c, magic := sniff(g.conns.Wrap(c))
	switch magic {
	case HeadMagic:
		g.server.ServeHead(t.Context(), c, nil)
	case DataMagic:
		g.server.ServeData(t.Context(), c, nil)
	default:
		c.Close()
	}
}

// sniff returns the first bytes of a connection, and one that still has them.
func sniff(c net.Conn) (net.Conn, [4]byte) {
	var magic [4]byte
	_, _ = io.ReadFull(c, magic[:]) // of a connection that ends it is zero
	return &sniffed{c, magic[:]}, magic
}

type sniffed struct {
	net.Conn
	first []byte
}

func (s *sniffed) Read(b []byte) (int, error) {
	if len(s.first) == 0 {
		return s.Conn.Read(b)
	}
	n := copy(b, s.first)
	s.first = s.first[n:]
	return n, nil
}

// drop ends all connections, as a target that is restarted does.
func (g *target) drop() { g.conns.Cut() }
