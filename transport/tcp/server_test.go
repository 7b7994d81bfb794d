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
		NewServer(sessions, slog.New(slog.DiscardHandler)).ServeConn(context.Background(), server, nil)
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

// TestStagingIsGivenBack ends a connection in the middle of everything, and
// looks whether the budget is whole again.
func TestStagingIsGivenBack(t *testing.T) {
	source := transporttest.NewSource()
	warm, cold := source.Add(1, 1<<24), source.Add(2, 1<<24)
	source.Chill(2)
	client, server := net.Pipe()
	v := newServing(server, source)
	ended := make(chan error)
	go func() { ended <- v.run() }()
	go func() {
		for i := range uint64(100) {
			r := frame.Request{ID: i, File: [2]transport.FileRef{warm, cold}[i%2], Length: uint32(i%5) << 20, Checksum: true}
			if _, err := client.Write(r.Append(nil)); err != nil {
				return
			}
		}
	}()
	io.CopyN(io.Discard, client, 3<<20+17)
	client.Close()
	<-ended
	if !v.budget.TryAcquire(stagingLimit) {
		t.Error("some of the staging budget is lost")
	}
}

// TestBurst asks for many small pieces at once: the replies share writes.
func TestBurst(t *testing.T) {
	source := transporttest.NewSource()
	file := source.Add(1, 1<<20)
	client, server := net.Pipe() // a read of a pipe ends with the write it reads
	v := newServing(server, source)
	ended := make(chan error)
	go func() { ended <- v.run() }()
	const n, size = 8, 512
	var burst []byte
	for i := range uint64(n) {
		burst = frame.Request{ID: i, File: file, Off: int64(i) * size, Length: size}.Append(burst)
	}
	go client.Write(burst)
	got := make([]byte, 64<<10)
	m, err := client.Read(got)
	if err != nil || m != n*(frame.ReplySize+size) {
		t.Fatalf("first write of %d bytes, %v", m, err)
	}
	for i := range int64(n) {
		sent := got[i*(frame.ReplySize+size):][:frame.ReplySize+size]
		if h, err := frame.ParseReply(sent); err != nil || h.ID != uint64(i) {
			t.Errorf("reply %d: %+v, %v", i, h, err)
		}
		if err := transporttest.Check(sent[frame.ReplySize:], file, i*size); err != nil {
			t.Error(err)
		}
	}
	client.Close()
	<-ended
}
