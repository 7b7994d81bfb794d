package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"
)

func TestServeAnnouncesItsRealPort(t *testing.T) {
	ctx, end := context.WithCancel(context.Background())
	defer end()
	r, w := io.Pipe()
	code := make(chan int)
	go func() {
		code <- run(ctx, []string{"serve", "--listen", "127.0.0.1:0", "data=" + t.TempDir()}, w, io.Discard)
		w.Close()
	}()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "serving data=") {
		t.Fatalf("first line %q, %v", line, err)
	}
	_, addr, _ := strings.Cut(strings.TrimSpace(line), " on ")
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatalf("announced address %q: %v", addr, err)
	}
	conn.Close()
	end()
	if got := <-code; got != exitOK {
		t.Errorf("exit code %d after its end was asked for", got)
	}
}

func TestServeRefusesPlaintextBeyondLoopback(t *testing.T) {
	code, stdout, stderr := command(t, "serve", "--listen", "0.0.0.0:0", "data="+t.TempDir())
	if code != exitFailure || stdout != "" || !strings.Contains(stderr, "--insecure") {
		t.Errorf("exit code %d, stdout %q, stderr %q; want a refusal that names --insecure", code, stdout, stderr)
	}
}
