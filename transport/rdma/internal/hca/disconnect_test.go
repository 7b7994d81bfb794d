package hca

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestDeferredDisconnects has them sent at once where they can be, and later where the
// port is down: adding them never waits.
func TestDeferredDisconnects(t *testing.T) {
	active, _ := fakePort(t)
	down := Port{"dev0", 1}
	for what, c := range map[string]struct {
		state  string
		d      Disconnect
		atOnce bool
	}{
		"no port":  {"1: DOWN\n", Disconnect{Settle: settleTime}, true},
		"active":   {"4: ACTIVE\n", Disconnect{Port: active}, true},
		"settling": {"4: ACTIVE\n", Disconnect{Port: active, Settle: settleTime}, false},
		"down":     {"1: DOWN\n", Disconnect{Port: down}, false},
	} {
		t.Run(what, func(t *testing.T) {
			_, set := fakePort(t)
			set(c.state)
			synctest.Test(t, func(t *testing.T) {
				var p DeferredDisconnects
				began, sent := time.Now(), make(chan struct{})
				c.d.Send = func() { close(sent) }
				p.Add(c.d)
				if took := time.Since(began); took != 0 {
					t.Errorf("add took %v", took)
				}
				waiting := p.Waiting()
				select {
				case <-sent:
					if !c.atOnce || waiting != 0 {
						t.Errorf("sent at once, %d wait", waiting)
					}
				default:
					if c.atOnce || waiting != 1 {
						t.Errorf("not sent at once, %d wait", waiting)
					}
				}
				time.Sleep(time.Hour)
				set("4: ACTIVE\n")
				p.Wait()
				<-sent
				if p.Waiting() != 0 {
					t.Error("one still waits")
				}
			})
		})
	}
}
