package links

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"go.uber.org/goleak"

	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/logging"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// slow is a transport that dials when it is told, or gives up with its context.
type slow struct {
	transport.Transport
	dialling, answer chan struct{}
	closed           int
}

type slowLink struct {
	transport.Link
	by *slow
}

func (s *slow) Dial(ctx context.Context, _ transport.Session) (transport.Link, error) {
	s.dialling <- struct{}{}
	select {
	case <-s.answer:
		return slowLink{by: s}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l slowLink) Close() error {
	l.by.closed++
	return nil
}

// TestSessionEndsWhileDialling: nothing is left of a link that comes too late, and its
// session's end is what the caller is told.
func TestSessionEndsWhileDialling(t *testing.T) {
	for _, answered := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		by := &slow{dialling: make(chan struct{}), answer: make(chan struct{})}
		s := NewSession(ctx, transport.Session{}, nil)
		ended := make(chan error, 1)
		go func() {
			_, err := s.dial(t.Context(), 2, by)
			ended <- err
		}()
		<-by.dialling
		s.Close()
		if answered {
			close(by.answer)
		} else {
			cancel()
		}
		if err := <-ended; !errors.Is(err, transport.ErrSession) {
			t.Errorf("answered: %t: %v", answered, err)
		}
		cancel()
		if answered != (by.closed == 1) || s.To(2) != nil {
			t.Errorf("answered: %t: %d closed, %v", answered, by.closed, s.To(2))
		}
	}
}

// TestSessionsLinks: one for each transport, until Close.
func TestSessionsLinks(t *testing.T) {
	by := &slow{dialling: make(chan struct{}, 8), answer: make(chan struct{})}
	close(by.answer)
	s := NewSession(t.Context(), transport.Session{}, nil)
	for _, number := range []int{3, 0, 3} {
		if link, err := s.dial(t.Context(), number, by); err != nil || link != s.To(number) {
			t.Errorf("link %d: %v, %v", number, link, err)
		}
	}
	if len(by.dialling) != 2 || s.To(1) != nil || s.To(7) != nil {
		t.Errorf("%d dialled", len(by.dialling))
	}
	if _, ok := s.Lender(); ok {
		t.Error("who lends?")
	}
	s.Close()
	if by.closed != 2 {
		t.Errorf("%d closed", by.closed)
	}
}

// fake is a transport that dials, and attaches, as a test says.
type fake struct {
	transport.Transport
	transport.Link
	planned, found uapi.Path
	refuses        error // of dialling
	stuck          error // of attachments that are closed
	attached       int
}

func (f *fake) Plan(transport.Memory) (transport.Plan, error) {
	return transport.Plan{Path: f.planned}, nil
}

func (f *fake) Dial(context.Context, transport.Session) (transport.Link, error) {
	return f, f.refuses
}

func (f *fake) Attach(context.Context, transport.Memory) (transport.Attachment, error) {
	f.attached++
	return fakeAttachment{f}, nil
}

type fakeAttachment struct{ *fake }

func (a fakeAttachment) Plan() transport.Plan { return transport.Plan{Path: a.found} }

func (a fakeAttachment) Close() error {
	a.attached--
	return a.stuck
}

type memory struct{ transport.Memory }

func (*memory) Domain() transport.Domain { return transport.Domain{} }

// newFakes are memories by a transport that is direct, and by one that is not.
func newFakes() (m *Memories, direct, staged *fake) {
	direct = &fake{planned: uapi.PathRDMA, found: uapi.PathRDMA}
	staged = &fake{planned: uapi.PathHost, found: uapi.PathHost}
	return NewMemories(Config{
		Candidates: []transport.Candidate{
			{Name: "staged", Path: staged.planned, Transport: staged}, {Name: "direct", Path: direct.planned, Transport: direct},
		},
		Probe: []transport.Memory{new(memory)},
		Log:   logging.NewLimiter(slog.New(slog.DiscardHandler)),
	}), direct, staged
}

func newFakeSession(t *testing.T) *Session {
	return NewSession(t.Context(), transport.Session{}, []string{"staged", "direct"})
}

// TestUnchosenStaysAttached: a link that turns out to be less direct than it seemed does
// not let go of the memory, which is then attached to none.
func TestUnchosenStaysAttached(t *testing.T) {
	m, direct, staged := newFakes()
	direct.found, direct.stuck = uapi.PathNone, errors.New("busy")
	if err := m.Begin(t.Context(), newFakeSession(t)); !errors.Is(err, direct.stuck) {
		t.Fatal(err)
	}
	if direct.attached != 0 || staged.attached != 0 {
		t.Errorf("%d and %d are attached", direct.attached, staged.attached)
	}
}

// TestTransportIsLost: a session goes on without a transport that the host has not any
// more, unless it is the first device's.
func TestTransportIsLost(t *testing.T) {
	m, direct, staged := newFakes()
	direct.found = uapi.PathNone
	if err := m.Begin(t.Context(), newFakeSession(t)); err != nil || m.First() != 0 {
		t.Fatal(err)
	}
	direct.found = uapi.PathRDMA
	mem := new(memory)
	s := newFakeSession(t)
	if err := m.Attach(t.Context(), mem, func() (*Session, error) { return s, nil }, nil); err != nil || direct.attached != 1 {
		t.Fatal(err)
	}
	m.DetachAll()
	direct.refuses = transport.ErrUnavailable
	install := func() error { return nil }
	s = newFakeSession(t)
	if err := errors.Join(m.Redial(t.Context(), s, func() {}), m.MoveTo(t.Context(), s, install)); err != nil {
		t.Fatal(err)
	}
	if d, ok := m.Find(mem).Decision(); !ok || d.Number != 0 || d.Err != nil || staged.attached != 1 {
		t.Errorf("%+v", d)
	}
	staged.refuses = transport.ErrUnavailable
	if err := m.Redial(t.Context(), newFakeSession(t), func() {}); !errors.Is(err, transport.ErrUnavailable) {
		t.Errorf("without the first one: %v", err)
	}
}
