package devmemtcp

import (
	"log/slog"
	"net/netip"

	"hbmfs/transport"
	"hbmfs/transport/limits"
)

// NewPlane is [NewServer], as a [transport.NewPlane].
func NewPlane(sessions transport.Sessions, bounds limits.Data, log *slog.Logger) transport.Plane {
	return NewServer(sessions, bounds, log)
}

// Name implements [transport.Plane].
func (s *Server) Name() string { return Name }

// Encrypts implements [transport.Plane].
func (s *Server) Encrypts() bool { return false }

// Greetings implements [transport.Plane].
func (s *Server) Greetings() []transport.Greeting {
	return []transport.Greeting{{Magic: HeadMagic, Serve: s.ServeHead}, {Magic: DataMagic, Serve: s.ServeData}}
}

// Listen implements [transport.Plane]: the target's listener serves.
func (s *Server) Listen(netip.AddrPort) error { return nil }
