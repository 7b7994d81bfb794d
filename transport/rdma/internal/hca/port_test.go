package hca

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"hbmfs/transport"
)

// fakePort is a port of a device in a class of its own, and a switch for it.
func fakePort(t *testing.T) (p Port, set func(state string)) {
	dir := t.TempDir()
	real := class
	class = dir
	t.Cleanup(func() { class = real })
	p = Port{"dev0", 1}
	ports := filepath.Join(dir, p.Device, "ports", "1")
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
	if !p.Active() {
		t.Error("a port that is gone is waited for")
	}
	for state, want := range map[string]bool{"4: ACTIVE\n": true, "1: DOWN\n": false, "2: INIT\n": false, "5: ACTIVE_DEFER\n": false} {
		set(state)
		if got := p.Active(); got != want {
			t.Errorf("%q: active %v", state, got)
		}
	}
	class = filepath.Join(class, p.Device, "ports", "1", "state")
	if p.Active() {
		t.Error("a port whose state can't be read is taken for active")
	}
}

func TestPortAwait(t *testing.T) {
	p, set := fakePort(t)
	for _, c := range []struct {
		name          string
		settle        time.Duration
		downFor       time.Duration // from the start
		removedAfter  time.Duration // 0: never
		least, atMost time.Duration
	}{
		{name: "active"},
		{name: "settling", settle: settleTime, least: settleTime, atMost: settleTime + lookTime},
		{name: "down", downFor: time.Hour, least: time.Hour, atMost: time.Hour + downTime},
		{name: "down, settling", settle: settleTime, downFor: time.Minute, least: time.Minute + settleTime - downTime, atMost: time.Minute + settleTime + downTime},
		{name: "removed while down", downFor: time.Hour, removedAfter: time.Minute, least: time.Minute, atMost: time.Minute},
		{name: "removed while settling", settle: settleTime, removedAfter: lookTime / 2, least: lookTime / 2, atMost: lookTime / 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				set("4: ACTIVE\n")
				if c.downFor > 0 {
					set("1: DOWN\n")
					time.AfterFunc(c.downFor, func() { set("4: ACTIVE\n") })
				}
				removed := make(chan struct{})
				if c.removedAfter > 0 {
					time.AfterFunc(c.removedAfter, func() { close(removed) })
				}
				began := time.Now()
				p.await(c.settle, removed)
				if took := time.Since(began); took < c.least || took > c.atMost {
					t.Errorf("took %v, want %v to %v", took, c.least, c.atMost)
				}
			})
		})
	}
}

func TestSettleTime(t *testing.T) {
	for err, want := range map[error]time.Duration{
		fmt.Errorf("x: %w", ErrPeerLeft):                    0,
		fmt.Errorf("x: %w", ErrRemoved):                     0,
		errors.Join(ErrRemoved, syscall.EIO):                0,
		fmt.Errorf("x: %w", transport.ErrSession):           0,
		fmt.Errorf("x: %w", net.ErrClosed):                  0,
		fmt.Errorf("x: %w", transport.ErrClosed):            0,
		fmt.Errorf("x: %w: flushed", transport.ErrConnLost): settleTime,
	} {
		if got := SettleTime(err); got != want {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
}

func TestMTUs(t *testing.T) {
	for n, want := range map[int]bool{0: false, 1: false, 128: false, 256: true, 1024: true, 1500: false, 4096: true, 8192: false, -256: false} {
		if ValidMTU(n) != want {
			t.Errorf("an MTU of %d bytes: %t", n, !want)
		}
	}
}
