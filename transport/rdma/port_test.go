package rdma

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"hbmfs/transport"
)

// fakePort is a port of a device in a class of its own, and a switch for it.
func fakePort(t *testing.T) (p port, set func(state string)) {
	dir := t.TempDir()
	real := class
	class = dir
	t.Cleanup(func() { class = real })
	p = port{"dev0", 1}
	ports := filepath.Join(dir, p.device, "ports", "1")
	if err := os.MkdirAll(ports, 0o755); err != nil {
		t.Fatal(err)
	}
	return p, func(state string) {
		if err := os.WriteFile(filepath.Join(ports, "state"), []byte(state), 0o644); err != nil {
			t.Error(err)
		}
	}
}

func TestPortActive(t *testing.T) {
	p, set := fakePort(t)
	if !p.active() {
		t.Error("a port that is gone is waited for")
	}
	for state, want := range map[string]bool{"4: ACTIVE\n": true, "1: DOWN\n": false, "2: INIT\n": false, "5: ACTIVE_DEFER\n": false} {
		set(state)
		if got := p.active(); got != want {
			t.Errorf("%q: active %v", state, got)
		}
	}
}

func TestPortAwait(t *testing.T) {
	p, set := fakePort(t)
	for _, c := range []struct {
		name          string
		port          port
		settle        time.Duration
		downFor       time.Duration // from the start
		endAfter      time.Duration // 0: never
		least, atMost time.Duration
	}{
		{name: "no port", settle: settleTime},
		{name: "active", port: p},
		{name: "settling", port: p, settle: settleTime, least: settleTime, atMost: settleTime + lookTime},
		{name: "down", port: p, downFor: time.Minute, least: time.Minute, atMost: time.Minute + lookTime},
		{name: "down, settling", port: p, settle: settleTime, downFor: time.Minute, least: time.Minute + settleTime - lookTime, atMost: time.Minute + settleTime + 2*lookTime},
		{name: "down at the end", port: p, downFor: time.Hour, endAfter: time.Second, least: time.Second + endTime, atMost: time.Second + endTime + lookTime},
		{name: "settling at the end", port: p, settle: settleTime, endAfter: lookTime / 2, least: lookTime / 2, atMost: 2 * lookTime},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				set("4: ACTIVE\n")
				if c.downFor > 0 {
					set("1: DOWN\n")
					time.AfterFunc(c.downFor, func() { set("4: ACTIVE\n") })
				}
				ended := make(chan struct{})
				if c.endAfter > 0 {
					time.AfterFunc(c.endAfter, func() { close(ended) })
				}
				began := time.Now()
				c.port.await(c.settle, ended)
				if took := time.Since(began); took < c.least || took > c.atMost {
					t.Errorf("took %v, want %v to %v", took, c.least, c.atMost)
				}
			})
		})
	}
}

func TestCaution(t *testing.T) {
	for err, want := range map[error]time.Duration{
		fmt.Errorf("x: %w", errPeerLeft):                    0,
		fmt.Errorf("x: %w", errRemoved):                     0,
		fmt.Errorf("x: %w", transport.ErrClosed):            0,
		fmt.Errorf("x: %w: flushed", transport.ErrConnLost): settleTime,
	} {
		if got := caution(err); got != want {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
}
