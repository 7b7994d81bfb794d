package guest

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hbmfs/integration/lab/agent"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// here is a Host that is this machine, for the time of the test.
func here(t *testing.T) *Host {
	t.Helper()
	near, far := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- agent.ServeConn(far) }()
	client, err := agent.NewClient(t.Context(), near)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil && err != io.EOF {
			t.Error(err)
		}
	})
	return &Host{client}
}

func TestWaitLine(t *testing.T) {
	p := here(t).Start(t, "/bin/sh", "-c", "echo one; echo number two; printf partial two; exec sleep 1000")
	if line := p.WaitLine(t, "two"); line != "number two" {
		t.Errorf("line %q", line)
	}
	p.Kill(t)
	if exit := p.Wait(t); exit.Signal != 9 {
		t.Errorf("exit %v", exit)
	}
}

func TestRunOutput(t *testing.T) {
	if out := here(t).Run(t, "echo", "hello"); out != "hello\n" {
		t.Errorf("output %q", out)
	}
}

// TestStartEndsWithTest shows that no process outlives the test that started it.
func TestStartEndsWithTest(t *testing.T) {
	host := here(t)
	var p *Process
	t.Run("start", func(t *testing.T) { p = host.Start(t, "sleep", "1000") })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case <-p.Done():
	case <-ctx.Done():
		t.Error("the process runs")
	}
}

func TestLineWith(t *testing.T) {
	for _, c := range []struct {
		output, part, want string
		ok                 bool
	}{
		{"a\nbc\n", "c", "bc", true},
		{"a\nbc", "c", "", false},
		{"", "", "", false},
	} {
		if got, ok := lineWith(c.output, c.part); got != c.want || ok != c.ok {
			t.Errorf("lineWith(%q, %q) = %q, %v", c.output, c.part, got, ok)
		}
	}
}

func TestSoak(t *testing.T) {
	t.Setenv("HBMFS_LAB_SOAK", "")
	if got := Soak(t, time.Minute); got != time.Minute {
		t.Errorf("usual: %v", got)
	}
	t.Setenv("HBMFS_LAB_SOAK", "10m0s")
	if got := Soak(t, time.Minute); got != 10*time.Minute {
		t.Errorf("asked for: %v", got)
	}
}
