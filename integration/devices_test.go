package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
)

// TestDevices: FETCH names one of the mount's devices, each with a pool of its own,
// and one that is not there is refused, which the log explains.
func TestDevices(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, 3*extent)
	m := startMount(t, src, append(small(8), "--device", "memfd,memfd")...)
	mount, err := client.OpenMount(m.dir)
	must(t, err)
	defer mount.Close()
	info, err := mount.Info()
	must(t, err)
	for i, d := range info.Devices {
		if d != (client.Device{ID: uint32(i), Name: "memfd", Pool: 8 * extent, CPU: true}) {
			t.Errorf("device %d: %+v", i, d)
		}
	}
	f, err := mount.Open(m.path("1"))
	must(t, err)
	defer f.Close()
	at := make(map[uint32]uint32) // region to device
	for device := range uint32(2) {
		r := pin(t, f, 0, 3*extent, client.FetchOptions{Device: device})
		checkTagged(t, r.data, 1, 1, 0)
		for _, s := range r.Segments {
			at[s.Region] = device
		}
	}
	if s := m.stats(); len(at) != 2 || len(info.Devices) != 2 || s.Cache.Regions != 2 || s.Cache.Misses != 6 || len(s.Devices) != 2 {
		t.Errorf("regions by device %v, %d devices, %+v", at, len(info.Devices), s)
	}
	if _, err := tryPin(f, 0, 1, client.FetchOptions{Device: 2}); !errors.Is(err, unix.ENODEV) {
		t.Errorf("device 2: %v, want ENODEV", err)
	}
	eventually(t, "why it is refused, in the log", func() error {
		if text := "no such device: 2; there are 0 (memfd), 1 (memfd)"; !strings.Contains(m.output(), text) {
			return fmt.Errorf("it lacks %q", text)
		}
		return nil
	})
	text, _ := command(t, "stat", m.dir)
	for _, line := range []string{"device 0", "device 1"} {
		if !strings.Contains(text, line) {
			t.Errorf("stat lacks %q:\n%s", line, text)
		}
	}
}

// TestDeviceAbsent: a mount is refused that could not fetch to one of its devices.
func TestDeviceAbsent(t *testing.T) {
	if _, err := os.Stat("/dev/udmabuf"); err == nil {
		unsupported(t, "a host without /dev/udmabuf is needed")
	}
	dir := t.TempDir()
	checkRefused(t, exec.Command(bin, "mount", "--device", "memfd,udmabuf", t.TempDir(), dir), exitFailure, "device 1", "modprobe udmabuf")
	checkGone(t, dir)
}
