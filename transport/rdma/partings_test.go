package rdma

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestPartings has farewells said at once where they can be, and later where the
// port is down: adding them never waits.
func TestPartings(t *testing.T) {
	active, _ := fakePort(t)
	down := port{"dev0", 1}
	for what, c := range map[string]struct {
		state  string
		f      farewell
		atOnce bool
	}{
		"no port":  {"1: DOWN\n", farewell{settle: settleTime}, true},
		"active":   {"4: ACTIVE\n", farewell{port: active}, true},
		"settling": {"4: ACTIVE\n", farewell{port: active, settle: settleTime}, false},
		"down":     {"1: DOWN\n", farewell{port: down}, false},
	} {
		t.Run(what, func(t *testing.T) {
			_, set := fakePort(t)
			set(c.state)
			synctest.Test(t, func(t *testing.T) {
				var p partings
				began, said := time.Now(), make(chan struct{})
				c.f.say = func() { close(said) }
				p.add(c.f)
				if took := time.Since(began); took != 0 {
					t.Errorf("add took %v", took)
				}
				waiting := p.waiting.Load()
				select {
				case <-said:
					if !c.atOnce || waiting != 0 {
						t.Errorf("said at once, %d wait", waiting)
					}
				default:
					if c.atOnce || waiting != 1 {
						t.Errorf("not said at once, %d wait", waiting)
					}
				}
				time.Sleep(time.Hour)
				set("4: ACTIVE\n")
				p.wait()
				<-said
				if p.waiting.Load() != 0 {
					t.Error("one still waits")
				}
			})
		})
	}
}
