// Package guest is what a test in the first guest of the lab uses to run
// programs there and in the other guest. It owns the processes that it starts:
// they end with their test.
//
// It is for tests only, and never starts or ends a guest.
//
// Locking: Process.mu guards the output; it is not held while waiting.
package guest

import (
	"context"
	"net"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"hbmfs/integration/lab/agent"
)

// The guests' addresses on the wire between them, and that of the RDMA device
// of the first guest that only reaches itself.
const (
	Addr     = "10.77.0.1"
	PeerAddr = "10.77.0.2"
	SelfAddr = "10.78.0.1"
)

// patience bounds the wait for a program that should answer at once. Guests
// are emulated, and slow.
const patience = 60 * time.Second

// Required skips the test outside the lab.
func Required(t testing.TB) {
	t.Helper()
	if os.Getenv("HBMFS_LAB") == "" {
		Unsupported(t, "not in the lab (make lab)")
	}
}

// Unsupported skips a test that needs what this machine hasn't got.
func Unsupported(t testing.TB, need string) {
	t.Helper()
	t.Skipf("unsupported: %s", need)
}

// Soak is how long a soak test should run: what the lab was told, or usual.
func Soak(t testing.TB, usual time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv("HBMFS_LAB_SOAK")
	if text == "" {
		return usual
	}
	soak, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("HBMFS_LAB_SOAK: %v", err)
	}
	return soak
}

// Host is a guest to run programs in.
type Host struct {
	client *agent.Client
}

// Peer connects to the other guest, until the test ends.
func Peer(t testing.TB) *Host { return dial(t, PeerAddr) }

// Local connects to this guest, until the test ends.
func Local(t testing.TB) *Host { return dial(t, "127.0.0.1") }

func dial(t testing.TB, addr string) *Host {
	t.Helper()
	Required(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", net.JoinHostPort(addr, strconv.Itoa(agent.Port)))
	if err != nil {
		t.Fatalf("the agent of %s: %v", addr, err)
	}
	client, err := agent.NewClient(ctx, nc)
	if err != nil {
		t.Fatalf("the agent of %s: %v", addr, err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("hang up on the agent of %s: %v", addr, err)
		}
	})
	return &Host{client}
}

// Start starts a program. It is killed when the test ends.
func (h *Host) Start(t testing.TB, argv ...string) *Process {
	t.Helper()
	return h.StartCommand(t, agent.Command{Argv: argv})
}

// StartCommand is Start with an environment and a directory. The outputs of c
// are replaced.
func (h *Host) StartCommand(t testing.TB, c agent.Command) *Process {
	t.Helper()
	p := &Process{argv: slices.Clone(c.Argv), more: make(chan struct{}, 1)}
	c.Stdout, c.Stderr = p, p
	var err error
	if p.process, err = h.client.Start(c); err != nil {
		t.Fatalf("%v: %v", c.Argv, err)
	}
	t.Cleanup(func() {
		p.Kill(t)
		p.Wait(t)
	})
	return p
}

// Run runs a program to its end and returns its output. One that fails fails
// the test.
func (h *Host) Run(t testing.TB, argv ...string) string {
	t.Helper()
	p := h.Start(t, argv...)
	if exit := p.Wait(t); exit != (agent.Exit{}) {
		t.Fatalf("%v: %v\n%s", argv, exit, p.Output())
	}
	return p.Output()
}

// Run is Local(t).Run.
func Run(t testing.TB, argv ...string) string {
	t.Helper()
	return Local(t).Run(t, argv...)
}
