package device_test

import (
	"errors"
	"os"
	"testing"

	"hbmfs/cache/device"
	"hbmfs/cache/device/devicetest"
	"hbmfs/transport"
)

// TestConformance: every provider, and the stand-in for one whose memory the CPU
// can't touch.
func TestConformance(t *testing.T) {
	for _, name := range []string{"memfd", "udmabuf"} {
		t.Run(name, func(t *testing.T) { devicetest.Run(t, open(t, name)) })
	}
	t.Run("hidden", func(t *testing.T) { devicetest.Run(t, devicetest.Hidden{TB: t}) })
}

// open returns a provider, if this host has what it takes.
func open(t *testing.T, name string) device.Provider {
	t.Helper()
	p, err := device.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Alloc(transport.Domain{}, 4096)
	switch {
	case err == nil:
		r.Close()
	case name == "udmabuf" && errors.Is(err, os.ErrNotExist):
		unsupported(t, err.Error()+" (make lab has it)")
	default:
		t.Fatal(err)
	}
	return p
}

// unsupported skips a test whose need this host can't meet.
func unsupported(t *testing.T, need string) {
	t.Helper()
	t.Skip("unsupported: " + need)
}
