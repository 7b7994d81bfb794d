package server

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/peer"

	"hbmfs/remote/term"
	"hbmfs/transport/logging"
)

const (
	// doubtFor is how long a client that let a term pass is doubted.
	doubtFor = time.Hour
	// maxDoubted bounds how many are remembered; then the oldest is forgotten.
	maxDoubted = 4096
)

// doubts remembers the clients whose mounts held up a writer for a whole term.
// Their next sessions have no term before they have acknowledged something, and
// so hold up nobody.
type doubts struct {
	clock term.Clock

	mu    sync.Mutex
	since map[string]time.Duration
}

func newDoubts(clock term.Clock) *doubts {
	return &doubts{clock: clock, since: make(map[string]time.Duration)}
}

func (d *doubts) add(client string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, known := d.since[client]; !known && len(d.since) >= maxDoubted {
		d.forgetOldest()
	}
	d.since[client] = d.clock()
}

func (d *doubts) forgetOldest() {
	oldest, first := "", true
	for client, since := range d.since {
		if first || since < d.since[oldest] {
			oldest, first = client, false
		}
	}
	delete(d.since, oldest)
}

func (d *doubts) has(client string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	since, known := d.since[client]
	if known && d.clock()-since > doubtFor {
		delete(d.since, client)
		known = false
	}
	return known
}

// infoOf is what a call knows of its connection.
func infoOf(ctx context.Context) controlInfo {
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(controlInfo); ok {
			return info
		}
	}
	return controlInfo{}
}

// clientOf names who is at the other end of a connection: by its certificate, or
// else its host.
func clientOf(conn net.Conn) string {
	if secure, ok := conn.(*tls.Conn); ok {
		if chain := secure.ConnectionState().PeerCertificates; len(chain) > 0 {
			return "certificate " + chain[0].Subject.String()
		}
	}
	return logging.Host(conn.RemoteAddr().String())
}
