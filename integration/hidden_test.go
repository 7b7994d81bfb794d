package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/cache"
	"hbmfs/cache/device"
	"hbmfs/cache/device/devicetest"
	"hbmfs/fs/client"
)

// childTB is for test doubles in a process that runs no test.
type childTB struct{ testing.TB }

// Cleanup does nothing: the process ends.
func (childTB) Cleanup(func()) {}

// Errorf ends the process, and with it its parent's test.
func (childTB) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// showRegions answers "REGION OFFSET LENGTH" on standard input by what the device
// sees there, in hexadecimal.
func showRegions(c *cache.Cache) {
	for {
		var region uint32
		var off, n int64
		if _, err := fmt.Scan(&region, &off, &n); err != nil {
			return
		}
		c.Region(region, func(r device.Region) { fmt.Printf("seen %x\n", r.(devicetest.Reader).Read(off, n)) })
	}
}

// seen is what the device of a mount by [lend] sees in a segment.
func (m *mount) seen(to *os.File, s client.Segment) (all []byte) {
	m.t.Helper()
	for int64(len(all)) < s.Length {
		at := int64(len(all))
		_, err := fmt.Fprintln(to, s.Region, s.RegionOffset+at, min(s.Length-at, 4096)) // a line is not to be long
		must(m.t, err)
		var b []byte
		_, err = fmt.Sscanf(m.line("seen "), "seen %x", &b)
		must(m.t, err)
		all = append(all, b...)
	}
	return all
}

// TestHiddenMemory: memory that the CPU can't address is fetched to as any other.
// INFO tells, its regions can't be mapped, and plain reads need none.
func TestHiddenMemory(t *testing.T) {
	const size = 3*extent + 777
	src := t.TempDir()
	writeNumbered(t, src, 1, size)
	in, to, err := os.Pipe()
	must(t, err)
	defer to.Close()
	m := startLenderWith(t, in, src, "hidden")
	in.Close()
	mount, err := client.OpenMount(m.dir)
	must(t, err)
	defer mount.Close()
	info, err := mount.Info()
	must(t, err)
	if d := info.Devices[0]; len(info.Devices) != 1 || d != (client.Device{Name: "hidden", Pool: 64 * extent}) {
		t.Errorf("devices %+v", info.Devices)
	}
	f, err := mount.Open(m.path("1"))
	must(t, err)
	defer f.Close()
	for _, hit := range []bool{false, true} {
		m.checkHidden(f, to, size, hit)
	}
	checkTagged(t, mustRead(t, m.path("1")), 1, 1, 0)
	if s := m.stats(); s.Devices[0].CPU || s.Cache.Misses != 4 || s.Cache.Hits != 4 || s.Cache.Leases != 0 || s.PlainBytes != size {
		t.Errorf("%+v", s)
	}
}

// checkHidden fetches all of file 1 and compares what the device sees.
func (m *mount) checkHidden(f *client.File, to *os.File, size int64, hit bool) {
	m.t.Helper()
	r, err := f.Fetch(context.Background(), 0, size, client.FetchOptions{})
	must(m.t, err)
	if len(r.Segments) != 4 || r.Fetched != size {
		m.t.Fatalf("%+v", r)
	}
	for _, s := range r.Segments {
		checkTagged(m.t, m.seen(to, s), 1, 1, s.FileOffset)
		if s.Hit != hit {
			m.t.Errorf("%+v, want hit %v", s, hit)
		}
		if b, err := f.Bytes(s); !errors.Is(err, unix.EOPNOTSUPP) {
			m.t.Errorf("%d bytes were mapped, %v; want EOPNOTSUPP", len(b), err)
		}
	}
	must(m.t, f.Release(r.Handle))
}
