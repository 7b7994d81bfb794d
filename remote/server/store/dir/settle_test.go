package dir

import (
	"os"
	"testing"
	"time"

	"hbmfs/remote/wire"
)

// TestChangesWhileOpened changes the attributes of a file over and over while it
// is opened. A version that counts as settled is older than a tick of the clock.
func TestChangesWhileOpened(t *testing.T) {
	r := newRig(t)
	r.write("f", 1, 1, fileSize)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for mode := os.FileMode(0o600); ; mode ^= 0o100 {
			select {
			case <-stop:
				return
			case <-time.After(clockTick / 2):
				os.Chmod(r.path("f"), mode)
			}
		}
	}()
	for range 5 {
		o := r.open("f")
		age := time.Since(time.Unix(o.attr.Ctime, int64(o.attr.CtimeNsec)))
		if o.Unsettled() == "" && age < clockTick {
			t.Errorf("settled, %v after a change", age)
		}
		o.Close()
	}
	close(stop)
	<-stopped
	r.openSettled("f").Close()
}

func TestUntilDistinct(t *testing.T) {
	now := time.Unix(1000, 500)
	at := func(mtime, ctime time.Duration) *wire.Attr {
		m, c := now.Add(-mtime), now.Add(-ctime)
		return &wire.Attr{
			Mtime: m.Unix(), MtimeNsec: uint32(m.Nanosecond()),
			Ctime: c.Unix(), CtimeNsec: uint32(c.Nanosecond()),
		}
	}
	modified := func(year int, attr *wire.Attr) *wire.Attr {
		attr.Mtime = time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
		return attr
	}
	whole := &wire.Attr{Mtime: 999, Ctime: 999}
	for name, c := range map[string]struct {
		attr    *wire.Attr
		wait    time.Duration
		settled bool
	}{
		"old":                      {at(time.Hour, time.Hour), 0, true},
		"just now":                 {at(5*time.Millisecond, 5*time.Millisecond), 15 * time.Millisecond, true},
		"old data, new attributes": {at(time.Hour, 5*time.Millisecond), 15 * time.Millisecond, true},
		"modified in the future":   {at(-time.Hour, time.Hour), 0, true},
		"changed in the future":    {at(time.Hour, -time.Second), 0, false},
		"whole seconds":            {whole, 0, false},
		"modified in 2400":         {modified(2400, at(0, 5*time.Millisecond)), 15 * time.Millisecond, true},
		"modified in 1600":         {modified(1600, at(0, 5*time.Millisecond)), 15 * time.Millisecond, true},
	} {
		wait, why := untilDistinct(now, c.attr)
		if wait != c.wait || (why == "") != c.settled {
			t.Errorf("%s: wait %v, %q", name, wait, why)
		}
	}
}
