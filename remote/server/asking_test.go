package server

import (
	"bytes"
	"context"

	"google.golang.org/protobuf/proto"

	"hbmfs/remote/wire"
	"hbmfs/transport"
)

func opens(dataset, path string, handle, attempt uint64) *wire.Ask {
	return &wire.Ask{What: &wire.Ask_Open{Open: &wire.OpenRequest{Dataset: []byte(dataset), Path: []byte(path), Handle: handle, Attempt: attempt}}}
}

func stats(dataset, path string) *wire.Ask {
	return &wire.Ask{What: &wire.Ask_Stat{Stat: &wire.StatRequest{Dataset: []byte(dataset), Path: []byte(path)}}}
}

func closes(handles ...uint64) *wire.Ask {
	return &wire.Ask{What: &wire.Ask_Close{Close: &wire.CloseRequest{Handles: handles}}}
}

// call asks by the data plane.
func (m *mount) call(ctx context.Context, ask *wire.Ask) (*wire.Answer, error) {
	m.t.Helper()
	b, err := proto.Marshal(ask)
	if err != nil {
		m.t.Fatal(err)
	}
	return m.callRaw(ctx, b)
}

func (m *mount) callRaw(ctx context.Context, ask []byte) (*wire.Answer, error) {
	m.t.Helper()
	dst := bytes.Repeat([]byte{0xa5}, transport.MaxCall+1)
	n, err := m.source.Call(ctx, ask, dst[:transport.MaxCall])
	if err != nil {
		return nil, err
	}
	if n > transport.MaxCall || dst[transport.MaxCall] != 0xa5 {
		m.t.Errorf("an answer of %d bytes", n)
	}
	answer := new(wire.Answer)
	if err := proto.Unmarshal(dst[:n], answer); err != nil {
		m.t.Errorf("an answer that is none: %v", err)
	}
	return answer, answer.Err()
}

// do asks by gRPC.
func (m *mount) do(ctx context.Context, ask *wire.Ask) (*wire.Answer, error) {
	return do(ctx, m.client, m.id, ask)
}

func do(ctx context.Context, c wire.ControlClient, session []byte, ask *wire.Ask) (*wire.Answer, error) {
	answer, err := c.Do(ctx, &wire.DoRequest{Session: session, Ask: ask})
	if err == nil {
		err = answer.Err()
	}
	return answer, err
}

// tryOpen opens a file, in the version want if that is not nil.
func (m *mount) tryOpen(dataset, path string, want *transport.Version) (transport.FileRef, *wire.OpenReply, error) {
	ask := opens(dataset, path, m.last.Add(1), 1)
	if want != nil {
		ask.GetOpen().Version = want[:]
	}
	answer, err := m.call(m.t.Context(), ask)
	if err != nil {
		return transport.FileRef{}, nil, err
	}
	return refOf(ask, answer), answer.GetOpen(), nil
}

// refOf names the file that an ask has opened.
func refOf(ask *wire.Ask, answer *wire.Answer) transport.FileRef {
	return transport.FileRef{Handle: ask.GetOpen().Handle, Version: transport.Version(answer.GetOpen().Attr.Version)}
}

func (m *mount) open(path string) (transport.FileRef, *wire.OpenReply) {
	m.t.Helper()
	ref, reply, err := m.tryOpen("d", path, nil)
	if err != nil {
		m.t.Fatalf("open %q: %v", path, err)
	}
	return ref, reply
}

// openSettled opens a file that must be leased.
func (m *mount) openSettled(path string) transport.FileRef {
	m.t.Helper()
	ref, reply := m.open(path)
	if !reply.Settled {
		m.t.Fatalf("%s is not settled: %s", path, reply.UnsettledWhy)
	}
	return ref
}

func (m *mount) close(refs ...transport.FileRef) {
	m.t.Helper()
	var handles []uint64
	for _, ref := range refs {
		handles = append(handles, ref.Handle)
	}
	if _, err := m.call(m.t.Context(), closes(handles...)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *mount) stat(dataset, path string) (*wire.Attr, error) {
	answer, err := m.call(m.t.Context(), stats(dataset, path))
	return answer.GetStat().GetAttr(), err
}
