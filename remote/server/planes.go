package server

import (
	"errors"
	"net"
	"slices"

	"hbmfs/transport"
)

// openPlanes makes the data planes that may be served: with TLS, one that carries
// payload in clear has to be allowed.
func (t *Server) openPlanes() {
	for _, create := range t.cfg.Planes {
		p := create(t, t.bounds.data, t.cfg.Log)
		if err := t.mayClear(); err != nil && !p.Encrypts() {
			t.cfg.Log.Info("a data plane is not served", "transport", p.Name(), "why", err)
			_ = p.Close() // of no connection
			continue
		}
		t.planes = append(t.planes, p)
		t.greetings = append(t.greetings, p.Greetings()...)
	}
}

// mayClear returns an error where planes that carry payload in clear are not served.
func (t *Server) mayClear() error { return transport.CheckClear(t.cfg.TLS, t.cfg.DataPlaintext) }

// listen has the planes serve at addr, and mounts told so. A target without one of
// them is none the worse: the log says why.
func (t *Server) listen(addr net.Addr) {
	tcpAddr, ok := addr.(*net.TCPAddr)
	if !ok {
		return
	}
	for _, p := range t.planes {
		if err := p.Listen(tcpAddr.AddrPort()); err != nil {
			t.cfg.Log.Info("a data plane is not served", "transport", p.Name(), "why", err)
			continue
		}
		t.cfg.Log.Info("a data plane is served", "transport", p.Name(), "addr", addr)
		t.tell(p.Name())
	}
}

func (t *Server) closePlanes() error {
	var errs []error
	for _, p := range t.planes {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// protocols are those that connections may negotiate under TLS.
func (t *Server) protocols() (names []string) {
	for _, g := range t.greetings {
		if g.ALPN != "" {
			names = append(names, g.ALPN)
		}
	}
	return names
}

// tell adds a data plane to those that mounts are told of.
func (t *Server) tell(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Contains(t.served, name) {
		t.served = append(slices.Clone(t.served), name)
	}
}

// transports are the data planes that mounts are told of.
func (t *Server) transports() []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.served
}

// greeting returns the one that is as wanted, or nil.
func (t *Server) greeting(wanted func(g transport.Greeting) bool) *transport.Greeting {
	if i := slices.IndexFunc(t.greetings, wanted); i >= 0 {
		return &t.greetings[i]
	}
	return nil
}
