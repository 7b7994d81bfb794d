package integration

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
)

// openDir opens a directory of the mount for batches, until the test ends.
func (m *mount) openDir(name string) *client.Dir {
	m.t.Helper()
	c, err := client.OpenMount(m.dir)
	must(m.t, err)
	m.t.Cleanup(func() { c.Close() })
	d, err := c.OpenDir(m.path(name))
	must(m.t, err)
	m.t.Cleanup(func() { d.Close() })
	return d
}

// bytesOf returns a copy of what a result has in device memory.
func bytesOf(f interface {
	Bytes(client.Segment) ([]byte, error)
}, r *client.Result, off int64) ([]byte, error) {
	var all []byte
	for _, s := range r.Segments {
		b, err := f.Bytes(s)
		if err != nil {
			return nil, err
		}
		if s.FileOffset != off+int64(len(all)) || s.Length == 0 {
			return nil, fmt.Errorf("segment %+v does not follow the %d bytes before it", s, len(all))
		}
		all = append(all, b...)
	}
	if int64(len(all)) != r.Fetched {
		return nil, fmt.Errorf("%d bytes fetched, %d in segments", r.Fetched, len(all))
	}
	return all, nil
}

// nothingLeased waits until the mount has let go of everything.
func (r *rig) nothingLeased() {
	r.t.Helper()
	eventually(r.t, "nothing is leased", func() error {
		if s := r.stats().Cache; s.Leases != 0 {
			return fmt.Errorf("%d leases", s.Leases)
		}
		return nil
	})
}

// TestBatchOfFiles: hundreds of files by name, in few calls and few messages, with the
// right bytes, cold and resident; and one that is missing harms no other.
func TestBatchOfFiles(t *testing.T) {
	const files, size = 400, 9_000
	r := startRig(t)
	must(t, unix.Mkdir(path.Join(r.src, "d"), 0o755))
	wants := make([]client.Want, files)
	for i := range files {
		name := path.Join("d", strconv.Itoa(i))
		if i%100 == 7 {
			name = "d/none"
		} else {
			r.write(name, i, size+int64(i))
		}
		wants[i] = client.Want{Name: name, Length: 1 << 20}
	}
	d := r.openDir(".")
	for _, pass := range []string{"cold", "resident"} {
		before := r.stats()
		calls := 0
		var b client.Batch
		for done := 0; done < files; calls++ {
			must(t, d.FetchFiles(t.Context(), &b, wants[done:], client.BatchOptions{Release: b.Handle}))
			for i := range b.Results {
				n, got := done+i, &b.Results[i]
				if n%100 == 7 {
					if !errors.Is(got.Err, unix.ENOENT) || len(got.Segments) != 0 {
						t.Errorf("%s: a file that is not there: %+v", pass, got)
					}
					continue
				}
				must(t, got.Err)
				data, err := bytesOf(d, got, 0)
				must(t, err)
				checkTagged(t, data, n, 1, 0)
				if got.FileSize != size+int64(n) || got.Fetched != got.FileSize || got.More || got.Unsettled || got.Segments[0].Hit != (pass == "resident") {
					t.Errorf("%s: file %d: %+v", pass, n, got)
				}
			}
			done += len(b.Results)
		}
		after := r.stats()
		t.Logf("%s: %d calls, %d messages", pass, calls, after.Target.RoundTrips-before.Target.RoundTrips)
		if held := after.Cache.Leases; held == 0 {
			t.Errorf("%s: nothing is leased", pass)
		}
		must(t, d.Release(b.Handle))
		r.nothingLeased()
	}
}
