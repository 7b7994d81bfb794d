package server

import (
	"fmt"
	"io"

	"google.golang.org/grpc"

	"hbmfs/remote/wire"
)

// Events implements [wire.ControlServer].
func (c *control) Events(stream grpc.BidiStreamingServer[wire.EventsRequest, wire.Event]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	s, err := c.findSession(first.Session)
	if err != nil {
		return err
	}
	if err := c.t.attach(s); err != nil {
		return asStatus("attach events", err)
	}
	if err := stream.SendHeader(nil); err != nil { // from here on the mount is told
		s.end("its mount is gone")
		return err
	}
	failed := make(chan error, 2)
	go func() { failed <- s.receiveAcks(stream) }()
	go func() { failed <- s.sendEvents(stream) }()
	select {
	case <-c.t.ctx.Done():
		return asStatus("events", errClosing)
	case <-s.ended:
		return asStatus("events", fmt.Errorf("%w: it was ended: %s", errNoSession, s.why))
	case err = <-failed:
	}
	switch err {
	case io.EOF:
		s.out.forgo()
		s.end("its mount closed it")
		return nil
	case errRenewals:
		s.end(err.Error())
		return asStatus("events", err)
	}
	s.end("its mount is gone")
	return err
}

func (s *session) sendEvents(stream grpc.BidiStreamingServer[wire.EventsRequest, wire.Event]) error {
	for {
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-s.out.ready:
		}
		for _, e := range s.out.take() {
			if err := stream.Send(e); err != nil {
				return err
			}
		}
	}
}

// receiveAcks returns io.EOF when the mount has closed the session.
func (s *session) receiveAcks(stream grpc.BidiStreamingServer[wire.EventsRequest, wire.Event]) error {
	for {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		if req.Ack != 0 {
			s.out.ack(req.Ack)
		}
		if req.Renew != 0 {
			if err := s.renew(req.Renew); err != nil {
				return err
			}
		}
	}
}
