package server

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"hbmfs/remote/wire"
)

// serveTCP has a new target serve until cancel is called. Then served says how
// that ended.
func serveTCP(t *testing.T) (addr string, cancel context.CancelFunc, served <-chan error) {
	t.Helper()
	r := newRig(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	ended := make(chan error, 1)
	go func() { ended <- r.target.Serve(ctx, l) }()
	return l.Addr().String(), cancel, ended
}

// TestStrangers has connections that say nothing, too little, or something else
// while a mount comes and goes, and that are there when serving ends.
func TestStrangers(t *testing.T) {
	addr, cancel, served := serveTCP(t)

	var silent []net.Conn
	for _, said := range []string{"", "HB", "GET / HTTP/1.1\r\n\r\n", "PRI ", "\x00\x00\x00\x00"} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, said)
		silent = append(silent, c)
	}
	leaves, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	leaves.Close()

	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := wire.NewControlClient(conn).OpenSession(t.Context(), &wire.OpenSessionRequest{Protocol: wire.Protocol}); err != nil {
		t.Errorf("a mount among strangers: %v", err)
	}
	cancel()
	select {
	case err := <-served:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("serving goes on after its context")
	}
	silent[0].SetReadDeadline(time.Now().Add(patience))
	if _, err := silent[0].Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection that said nothing is left open: %v", err)
	}
}
