package tcp

import (
	"context"
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/transporttest"
)

// pipeServer serves one end of a pipe, in fake time, and returns the other and a
// channel that is closed when the server is through with it.
func pipeServer(source transport.Source) (client net.Conn, s transport.Session, ended chan struct{}) {
	sessions := transporttest.NewSessions()
	s = sessions.Open(source)
	client, server := net.Pipe()
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		NewServer(sessions, transporttest.Ample(), slog.New(slog.DiscardHandler)).ServeConn(context.Background(), server, nil)
	}()
	return client, s, ended
}

// TestHandshakeIsBounded has clients that never finish it.
func TestHandshakeIsBounded(t *testing.T) {
	hello := append(shake.AppendPreamble(nil), make([]byte, 48)...) // of session 0
	for _, sent := range [][]byte{nil, hello[:3], hello} {
		synctest.Test(t, func(t *testing.T) {
			client, _, ended := pipeServer(transporttest.NewSource())
			defer client.Close()
			client.Write(sent)
			<-ended
		})
	}
}

// TestDeafClient has a client that asks and never reads.
func TestDeafClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := transporttest.NewSource()
		warm, cold := source.Add(1, 1<<20), source.Add(2, 1<<20)
		source.Chill(2)
		client, s, ended := pipeServer(source)
		defer client.Close()
		if err := shake.Authenticate(client, s); err != nil {
			t.Fatal(err)
		}
		var burst []byte
		for i := range uint64(depth) {
			burst = frame.Request{ID: i, File: [2]transport.FileRef{warm, cold}[i%2], Length: 1 << 20}.Append(burst)
		}
		go client.Write(burst)
		<-ended
	})
}

func TestServerCloses(t *testing.T) {
	source := transporttest.NewSource()
	file := source.Add(1, 4096)
	g := startTarget(t, source)
	g.session.Connections = 2
	l := dial(t, g.session)
	if _, res := fetch(t, l, file, 0, 4096); res.Err != nil {
		t.Fatal(res.Err)
	}
	g.server.Close()
	client, server := net.Pipe()
	g.server.ServeConn(t.Context(), server, nil)
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a connection after Close: %v", err)
	}
}
