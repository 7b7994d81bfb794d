package tcp

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

func TestMagicIsNotHTTP2(t *testing.T) {
	if Magic[0] == 'P' {
		t.Errorf("magic %q starts as the HTTP/2 preface does", Magic)
	}
}

func TestDialIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	silent := make(chan struct{})
	addr := transporttest.Listen(t, func(c net.Conn) {
		io.ReadFull(c, make([]byte, 8))
		cancel()
		<-silent
		c.Close()
	})
	defer close(silent)
	_, err := New(false).Dial(ctx, transport.Session{Addr: addr, Connections: 1})
	if !errors.Is(err, transport.ErrConnLost) {
		t.Errorf("a peer that never answers: %v", err)
	}
}

func TestDialRefusals(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	s := transport.Session{Addr: ln.Addr().String(), Connections: 2}
	if _, err := New(false).Dial(t.Context(), s); !errors.Is(err, transport.ErrConnLost) {
		t.Errorf("nobody listens: %v", err)
	}
}
