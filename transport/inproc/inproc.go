// Package inproc is the transport of a target that is in the same process: the
// target's source is read straight into the destination, or through a host
// buffer where the CPU can't touch that.
//
// It owns a fixed pool of workers per link, and the queue before them. It opens
// no connection and no file, and computes no checksum: nothing crosses a wire,
// which is also why its plan doesn't count as encrypted.
//
// Locking: link.mu guards the queue and the credits. It is not held while a
// source is read, or while Done or a method of a Memory is called.
package inproc

import (
	"context"
	"crypto/subtle"
	"fmt"

	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
)

// Name is what --transport calls this transport.
const Name = "inproc"

type inproc struct{ sessions transport.Sessions }

// New returns the transport to the target that keeps sessions.
func New(sessions transport.Sessions) transport.Transport { return inproc{sessions} }

func (inproc) Name() string { return Name }

// Plan accepts all memory: what the CPU can't touch is filled by CopyIn.
func (inproc) Plan(mem transport.Memory) (transport.Plan, error) {
	if landing.Revoked(mem) {
		return transport.Plan{}, fmt.Errorf("%w: %w", transport.ErrUnavailable, transport.ErrRevoked)
	}
	return transport.Plan{Path: transport.PathHost, Why: transport.WhyLocalSource, MaxLen: landing.Largest, Align: 1}, nil
}

// Dial looks the session up. Its address, TLS, connections and time-out are of
// no meaning here: a source that stalls is waited for.
func (p inproc) Dial(ctx context.Context, s transport.Session) (transport.Link, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("inproc: %w", err)
	}
	secret, source, ok := p.sessions.Session(s.ID)
	if !ok || subtle.ConstantTimeCompare(secret[:], s.Secret[:]) == 0 {
		return nil, fmt.Errorf("inproc: %w: there is none by that id and secret", transport.ErrSession)
	}
	return newLink(source), nil
}
