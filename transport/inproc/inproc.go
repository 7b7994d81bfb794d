// Package inproc is the transport of a target that is in the same process: the
// target's source is read straight into the destination, or through a host
// buffer where the CPU can't touch that.
//
// It owns a fixed pool of workers per link, which also have the source answer
// calls, and the queue before them. It opens no connection and no file, and
// computes no checksum: nothing crosses a wire, which is also why its plan doesn't
// count as encrypted, and has as many requests share a message as a link takes.
//
// Locking: link.mu guards the queue, the credits and what is chained. It is not
// held while a source is asked, or while a completer or a method of a Memory is
// called.
package inproc

import (
	"cmp"
	"context"
	"crypto/subtle"
	"fmt"
	"time"

	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
)

// Name is what --transport calls this transport.
const Name = "inproc"

// defaultTimeout is for sessions that name none.
const defaultTimeout = 30 * time.Second

type inproc struct{ sessions transport.Sessions }

// New returns the transport to the target that keeps sessions.
func New(sessions transport.Sessions) transport.Transport { return inproc{sessions} }

func (inproc) Name() string { return Name }

// plan is for all memory.
var plan = transport.Plan{
	Path: uapi.PathHost, Why: uapi.WhyLocalSource, MaxLen: landing.Largest, Align: 1, Batch: credits,
}

// Plan accepts all memory: what the CPU can't touch is filled by CopyIn.
func (inproc) Plan(mem transport.Memory) (transport.Plan, error) {
	if landing.Revoked(mem) {
		return transport.Plan{}, fmt.Errorf("%w: %w", transport.ErrUnavailable, transport.ErrRevoked)
	}
	return plan, nil
}

// Dial looks the session up. Its address, TLS and connections are of no meaning
// here, and its time-out bounds plain reads only: requests wait for a source that
// stalls.
func (p inproc) Dial(ctx context.Context, s transport.Session) (transport.Link, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("inproc: %w", err)
	}
	who, ok := p.sessions.Session(s.ID)
	if !ok || subtle.ConstantTimeCompare(who.Secret[:], s.Secret[:]) == 0 {
		return nil, fmt.Errorf("inproc: %w: there is none by that id and secret", transport.ErrSession)
	}
	return newLink(who.Source, cmp.Or(s.Timeout, defaultTimeout)), nil
}
