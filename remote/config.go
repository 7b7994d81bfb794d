package remote

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"

	"hbmfs/remote/term"
	"hbmfs/transport"
)

// DefaultTimeout is what a zero [Config.Timeout] means.
const DefaultTimeout = 10 * time.Second

// Config is how to reach a target, and what to ask of it.
type Config struct {
	// Addr is host:port of the target, for control and data connections.
	Addr string
	// TLS, if not nil, is used on control connections, and on data connections
	// that can carry it.
	TLS *tls.Config
	// DialControl, if not nil, makes the control connections: for a target
	// within this process, which no TLS is used with.
	DialControl func(context.Context) (net.Conn, error)
	// Candidates are the transports that may be used. Transport is the name of the
	// one to use; "" is [transport.Auto].
	Candidates []transport.Candidate
	Transport  string
	// Probe is memory of each device that will be attached, by the devices' numbers, to
	// choose transports by; of one at least. It is not used once Connect has returned.
	Probe []transport.Memory
	// Datasets names those to open; none means all.
	Datasets []string
	// Connections is how many data connections all requests share; 0 is 1.
	Connections int
	// Checksums asks for a crc32c with every payload, checked on arrival.
	Checksums bool
	// RequireDirect refuses memory without a direct path, and makes payload for
	// device memory that passed through host memory an error.
	RequireDirect bool
	// Timeout bounds how long a request or call waits for a target that is
	// away, recovery included. 0 is [DefaultTimeout].
	Timeout time.Duration
	// Clock counts the mount's term; nil: [term.Boot].
	Clock term.Clock
	Log   *slog.Logger // nil: none
}

func (c Config) withDefaults() Config {
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Connections <= 0 {
		c.Connections = 1
	}
	if c.Clock == nil {
		c.Clock = term.Boot
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}
