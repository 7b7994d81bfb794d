package rdma

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"hbmfs/transport"
	"hbmfs/transport/internal/lanes"
)

// link is the connections to one target, and the registrations of the memory
// that they fill.
type link struct {
	lanes.Link
	device  device
	bounce  *bounce
	reads   *bounce // memory of plain reads
	closing sync.Once
}

func newLink(s transport.Session) (*link, error) {
	b, err := newBounce(bounceSize)
	if err != nil {
		return nil, fmt.Errorf("rdma %s: %w", s.Addr, err)
	}
	r, err := newBounce(readSize)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("rdma %s: %w", s.Addr, err), b.close())
	}
	l := &link{bounce: b, reads: r}
	l.device = device{link: l, regions: make(map[transport.Memory]region)}
	l.Init(lanes.Config{Name: Name, Session: s, Plan: direct, Dial: l.dial})
	return l, nil
}

func (l *link) Attach(ctx context.Context, mem transport.Memory) (transport.Attachment, error) {
	a, err := l.Link.Attach(ctx, mem)
	if err != nil {
		return nil, err
	}
	l.device.attach(mem)
	return attachment{a, l, mem}, nil
}

// attachment is a memory's place in the set, and its registration.
type attachment struct {
	transport.Attachment
	link *link
	mem  transport.Memory
}

// Plan implements [transport.Attachment]. While there is no connection it is as
// good as can be.
func (a attachment) Plan() transport.Plan {
	if a.link.device.refused(a.mem) {
		return staged
	}
	return direct
}

// Close gives the place in the set back last: who attaches the memory anew finds
// no registration.
func (a attachment) Close() error {
	return errors.Join(a.link.device.detach(a.mem), a.Attachment.Close())
}

func (l *link) Stats() transport.LinkStats {
	s := l.Link.Stats()
	s.Registrations = l.device.stats()
	return s
}

func (l *link) Close() error {
	err := l.Link.Close()
	l.closing.Do(func() { err = errors.Join(err, l.free()) })
	return err
}

// free gives back what no device writes any more.
func (l *link) free() error { return errors.Join(l.bounce.close(), l.reads.close()) }
