package links

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"hbmfs/transport"
	"hbmfs/transport/logging"
)

// Config is by what a target may be reached.
type Config struct {
	Addr string // of the target, for the log
	// Candidates are the transports that may be used. Transport is the name of the
	// one to use; "" is [transport.Auto].
	Candidates []transport.Candidate
	Transport  string
	// RequireDirect refuses memory without a direct path.
	RequireDirect bool
	// Probe is memory of each device that will be attached, by the devices' numbers, to
	// choose transports by; of one at least.
	Probe []transport.Memory
	Log   *logging.Limiter
}

// Begin selects transports in the target's first session, by memory of each device
// that there will be, and dials those that it takes.
func (m *Memories) Begin(ctx context.Context, s *Session) (err error) {
	want := cmp.Or(m.cfg.Transport, transport.Auto)
	if m.selection, err = transport.Select(want, m.cfg.RequireDirect, s.served, m.cfg.Candidates); err != nil {
		return err
	}
	for device, mem := range m.cfg.Probe {
		r := &Memory{mem: mem}
		err := errors.Join(m.serve(ctx, s, r), r.close())
		if err != nil && len(m.cfg.Probe) > 1 {
			err = fmt.Errorf("device %d: %w", device, err)
		}
		if err != nil {
			return err
		}
		if device == 0 {
			m.first = r.decided.Load().Number
		}
	}
	m.selection.Settle(func(number int) (transport.Plan, error) {
		return m.cfg.Candidates[number].Transport.Plan(m.cfg.Probe[0])
	})
	return nil
}

// First is the number of the transport that serves the first device. Each session has a
// link by it.
func (m *Memories) First() int { return m.first }

// Verdicts returns what is known of the candidates, by their numbers.
func (m *Memories) Verdicts() []transport.Verdict { return m.selection.Verdicts() }

// serve has the selection decide which transport serves r in the session s, and
// attaches it to that one's link. The log says so.
func (m *Memories) serve(ctx context.Context, s *Session, r *Memory) error {
	made := make(map[int]transport.Attachment)
	choice, err := m.selection.Choose(func(number int) (transport.Plan, error) {
		return m.plan(s, number, r.mem)
	}, func(number int) (p transport.Plan, err error) {
		if made[number], err = m.attachBy(ctx, s, number, r.mem); err == nil {
			p = made[number].Plan()
		}
		return p, err
	})
	if err == nil {
		r.att = made[choice.Number]
		delete(made, choice.Number)
		r.decided.Store(&Decision{Number: choice.Number, Why: choice.Why})
		m.logChoice(r.mem.Domain(), choice)
	}
	for _, att := range made {
		if att != nil {
			err = errors.Join(err, att.Close())
		}
	}
	if err != nil {
		err = errors.Join(err, r.close())
	}
	return err
}

// plan is what a transport does for mem: at best, where there is a link to ask.
func (m *Memories) plan(s *Session, number int, mem transport.Memory) (transport.Plan, error) {
	c := &m.cfg.Candidates[number]
	if s.To(number) != nil {
		return transport.Plan{Path: c.Path}, nil
	}
	return c.Transport.Plan(mem)
}

func (m *Memories) attachBy(ctx context.Context, s *Session, number int, mem transport.Memory) (transport.Attachment, error) {
	link, err := s.dial(ctx, number, m.cfg.Candidates[number].Transport)
	if err != nil {
		return nil, err
	}
	return link.Attach(ctx, mem)
}

func (m *Memories) logChoice(dom transport.Domain, c transport.Choice) {
	level := slog.LevelInfo
	if c.Plan.Path < m.path {
		level = slog.LevelWarn
	}
	m.path = max(m.path, c.Plan.Path)
	name := m.cfg.Candidates[c.Number].Name
	m.cfg.Log.Log(level, "memory attached", fmt.Sprint(name, c.Plan.Path), "target", m.cfg.Addr, "uid", dom.UID, "device", dom.Device,
		"transport", name, "path", c.Plan.Path, "why", c.Why)
}
