package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// connect returns a client of an agent in this process.
func connect(t *testing.T) *Client {
	t.Helper()
	here, there := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- ServeConn(there) }()
	c, err := NewClient(t.Context(), here)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close() // a second time, in some tests
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return c
}

// lockedBuffer is an output that tests look at while it grows.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
	got chan struct{}
}

func newBuffer() *lockedBuffer { return &lockedBuffer{got: make(chan struct{}, 1)} }

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case b.got <- struct{}{}:
	default:
	}
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func start(t *testing.T, c *Client, script string, env ...string) (p *Process, stdout, stderr *lockedBuffer) {
	t.Helper()
	stdout, stderr = newBuffer(), newBuffer()
	p, err := c.Start(Command{
		Argv: []string{"/bin/sh", "-c", script}, Env: env, Dir: "/", Stdout: stdout, Stderr: stderr,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p, stdout, stderr
}

func wait(t *testing.T, p *Process) Exit {
	t.Helper()
	exit, err := p.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return exit
}

func TestRun(t *testing.T) {
	c := connect(t)
	p, stdout, stderr := start(t, c, "echo $WORD; pwd; echo oops >&2; exit 3", "WORD=hello")
	if exit := wait(t, p); exit != (Exit{Code: 3}) {
		t.Errorf("exit %v", exit)
	}
	if stdout.String() != "hello\n/\n" || stderr.String() != "oops\n" {
		t.Errorf("stdout %q, stderr %q", stdout, stderr)
	}
}

// TestLongOutput is of many messages, whole and in order.
func TestLongOutput(t *testing.T) {
	const words = 100_000
	p, stdout, _ := start(t, connect(t), "seq "+strconv.Itoa(words))
	if exit := wait(t, p); exit != (Exit{}) {
		t.Fatalf("exit %v", exit)
	}
	for i, line := range strings.Split(strings.TrimSpace(stdout.String()), "\n") {
		if line != strconv.Itoa(i+1) {
			t.Fatalf("line %d is %q", i+1, line)
		}
	}
}

func TestSignal(t *testing.T) {
	p, stdout, _ := start(t, connect(t), "echo up; exec sleep 1000")
	<-stdout.got
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if exit := wait(t, p); exit != (Exit{Code: -1, Signal: syscall.SIGTERM}) {
		t.Errorf("exit %v", exit)
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("to a process that has ended: %v", err)
	}
}

func TestNoSuchProgram(t *testing.T) {
	p, err := connect(t).Start(Command{Argv: []string{"/no/such/program"}, Stdout: io.Discard, Stderr: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	if exit := wait(t, p); exit.Code != -1 || !strings.Contains(exit.Err, "/no/such/program") {
		t.Errorf("exit %v", exit)
	}
}

// TestHangUp shows that a process group does not outlive its connection.
func TestHangUp(t *testing.T) {
	c := connect(t)
	p, stdout, _ := start(t, c, "sleep 1000 & echo $!; wait")
	<-stdout.got
	child, err := strconv.Atoi(strings.TrimSpace(stdout.String()))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(t.Context()); !errors.Is(err, ErrGone) {
		t.Errorf("wait: %v", err)
	}
	for deadline := time.Now().Add(10 * time.Second); running(child); {
		if time.Now().After(deadline) {
			t.Fatalf("process %d runs", child)
		}
	}
	if _, err := c.Start(Command{Argv: []string{"true"}}); !errors.Is(err, ErrGone) {
		t.Errorf("start after the end: %v", err)
	}
}

// running says whether a process is there and not a zombie.
func running(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestNoGreeting(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := NewClient(ctx, here); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an agent that says nothing: %v", err)
	}
}

func TestBadMessages(t *testing.T) {
	for _, text := range []string{
		"x\n", "{}\n", `{"id":1,"start":{}}` + "\n", `{"ready":true,"stream":"stdout"}` + "\n", `{"ready":true}`,
		strings.Repeat("x", maxMessage+1),
	} {
		if _, err := readMessage(newReader(strings.NewReader(text))); !errors.Is(err, ErrMessage) {
			t.Errorf("%.40q: %v", text, err)
		}
	}
	if _, err := readMessage(newReader(strings.NewReader(""))); err != io.EOF {
		t.Errorf("nothing: %v", err)
	}
}

// FuzzMessage: what reads as a message is written so that it reads the same.
func FuzzMessage(f *testing.F) {
	f.Add([]byte(`{"ready":true}` + "\n"))
	f.Add([]byte(`{"id":1,"start":{"argv":["true"],"env":["A=b"],"dir":"/"}}` + "\n"))
	f.Add([]byte(`{"id":1,"stream":"stdout","data":"aGk="}` + "\n" + `{"id":1,"exit":{"code":0}}` + "\n"))
	f.Add([]byte(`{"id":1,"signal":9}` + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := readMessage(newReader(bytes.NewReader(text)))
		if err != nil {
			return
		}
		var first, second bytes.Buffer
		if err := (&sender{w: &first}).send(m); errors.Is(err, ErrMessage) {
			return // longer when written
		} else if err != nil {
			t.Fatal(err)
		}
		again, err := readMessage(newReader(bytes.NewReader(first.Bytes())))
		if err != nil {
			t.Fatalf("%q: %v", first.Bytes(), err)
		}
		if err := (&sender{w: &second}).send(again); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Fatalf("%q, then %q, %v", first.Bytes(), second.Bytes(), err)
		}
	})
}
