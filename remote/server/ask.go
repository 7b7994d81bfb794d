package server

import (
	"context"
	"fmt"
	"math"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// Call implements [transport.Source]: the ask is a [wire.Ask], and the answer a
// [wire.Answer], also to what is no ask.
func (s *session) Call(ctx context.Context, ask, dst []byte) (int, error) {
	req := new(wire.Ask)
	if proto.Unmarshal(ask, req) != nil {
		req.Reset() // so it asks nothing
	}
	b, err := proto.MarshalOptions{}.MarshalAppend(dst[:0], s.answer(ctx, req, transport.MaxCall))
	if err != nil {
		return 0, fmt.Errorf("%w: an answer that can't be sent: %w", transport.ErrSource, err)
	}
	return copy(dst, b), nil
}

// Do implements [wire.ControlServer].
func (c *control) Do(ctx context.Context, req *wire.DoRequest) (*wire.Answer, error) {
	s, err := c.findSession(req.Session)
	if err != nil {
		return nil, err
	}
	return s.answer(ctx, req.Ask, math.MaxInt), nil
}

// answer does what is asked, and says how that went in at most room bytes. What
// was opened for an answer that nobody will have is closed.
func (s *session) answer(ctx context.Context, ask *wire.Ask, room int) *wire.Answer {
	answer, op, err := s.do(ctx, ask)
	if err == nil {
		err = ctx.Err()
	}
	large := err == nil && proto.Size(answer) > room
	if open := ask.GetOpen(); open != nil && (err != nil || large) {
		s.drop(open.Handle, open.Attempt)
	}
	switch {
	case err != nil:
		s.target.watchDescriptors(err)
		return failed(op, err)
	case large:
		return &wire.Answer{TooLarge: true}
	}
	return answer
}

// do names what it does, for its error.
func (s *session) do(ctx context.Context, ask *wire.Ask) (answer *wire.Answer, op string, err error) {
	select {
	case <-s.ended:
		return nil, "ask", errNoSession
	default:
	}
	switch what := ask.GetWhat().(type) {
	case *wire.Ask_Open:
		reply, err := s.open(ctx, what.Open)
		return &wire.Answer{What: &wire.Answer_Open{Open: reply}}, "open", err
	case *wire.Ask_Stat:
		reply, err := s.stat(ctx, what.Stat)
		return &wire.Answer{What: &wire.Answer_Stat{Stat: reply}}, "stat", err
	case *wire.Ask_Close:
		err := s.closeHandles(what.Close.Handles)
		return &wire.Answer{What: &wire.Answer_Close{Close: new(wire.CloseReply)}}, "close", err
	}
	return nil, "ask", fmt.Errorf("%w: nothing is asked that this target knows", unix.EINVAL)
}

func (s *session) stat(ctx context.Context, req *wire.StatRequest) (*wire.StatReply, error) {
	d, err := s.dataset(req.Dataset)
	if err != nil {
		return nil, err
	}
	end, err := s.target.turn(ctx, s.peer)
	if err != nil {
		return nil, err
	}
	defer end()
	reply := new(wire.StatReply)
	if req.Delegate != 0 { // before it is looked at
		reply.Delegated, reply.Undelegated = s.delegate(ctx, d, req)
	}
	if reply.Attr, err = d.tree.Stat(ctx, req.Path); err != nil {
		return nil, err
	}
	reply.TermMs = s.grant()
	return reply, nil
}
