package server

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"hbmfs/remote/wire"
	"hbmfs/transport/logging"
)

// logBuffer is a log that can be looked at.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// logged is a target that listens, with its log.
func logged(t *testing.T) (*Server, string, *logBuffer) {
	t.Helper()
	log := new(logBuffer)
	target, err := New(Config{Exports: exportsOf(newFiles(t), named{name: "d", path: t.TempDir()}), Log: logging.New(log)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = target.Serve(t.Context(), l) }()
	return target, l.Addr().String(), log
}

// TestStrangersFillNoLog: whatever strangers send, and however often, the log has
// a line for each kind, which is short and has nothing raw, and the number of those
// left out.
func TestStrangersFillNoLog(t *testing.T) {
	target, addr, log := logged(t)
	const often = 50
	for range often {
		send(t, addr, "\x1b[2J\u202e"+strings.Repeat("\n", 4096))
	}
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	long := bytes.Repeat([]byte("\x1b[2J\x00"), maxMessage/5-100)
	for i := range often {
		req := &wire.OpenSessionRequest{Protocol: wire.Protocol, Datasets: [][]byte{long}, Client: fmt.Sprintf("\x1b%d", i)}
		_, err := wire.NewControlClient(conn).OpenSession(t.Context(), req)
		if err == nil || len(err.Error()) > 4096 {
			t.Fatalf("a dataset of that name was opened, or refused with much: %.200v", err)
		}
	}
	target.Close()
	text := log.String()
	for _, kind := range []string{`msg="connection refused"`, `msg="session refused"`} {
		if n := strings.Count(text, kind); n != 2 { // the first, and the last with a count
			t.Errorf("%d lines of %s", n, kind)
		}
	}
	if n := strings.Count(text, fmt.Sprintf("left_out=%d", often-2)); n != 2 || len(text) > 32<<10 || strings.ContainsAny(text, "\x1b\x00\u202e") {
		t.Errorf("%d bytes, %d counts in\n%.4096q", len(text), n, text)
	}
}

// send sends to a target what it hangs up on.
func send(t *testing.T, addr, text string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, text)
	_, _ = io.Copy(io.Discard, conn)
}

func TestOutOfDescriptorsIsLogged(t *testing.T) {
	target, _, log := logged(t)
	target.watchStatus(asStatus("open", unix.ENOENT))
	target.watchStatus(asStatus("open", errNoSession))
	if text := log.String(); strings.Contains(text, "out of descriptors") {
		t.Errorf("logged without need: %s", text)
	}
	for range 100 {
		target.watchStatus(asStatus("open", unix.EMFILE))
	}
	target.Close()
	if text := log.String(); strings.Count(text, "out of descriptors") != 2 || !strings.Contains(text, "left_out=98") || !strings.Contains(text, "limit=") {
		t.Errorf("logged %s", text)
	}
}
