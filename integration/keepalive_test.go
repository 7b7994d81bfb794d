package integration

import (
	"context"
	"runtime"
	"testing"

	"hbmfs/fs/client"
)

// TestKeptAlive: what was fetched stays, and what is registered with a ring is found, for
// as long as the program has the lease, the batch or the ring, whatever Go's garbage
// collector takes.
func TestKeptAlive(t *testing.T) {
	rig := startRig(t)
	path := rig.write("1", 1, 10_000)
	c, err := client.OpenMount(rig.dir)
	must(t, err)
	defer c.Close()
	ring, err := c.NewRing(client.RingOptions{})
	must(t, err)
	defer ring.Close()
	lease, batch, number := leaveOpen(t, c, ring, rig.dir, path)
	for range 3 {
		runtime.GC()
	}
	if n := rig.stats().Cache.Leases; n != 2 {
		t.Errorf("%d leases, want 2", n)
	}
	for _, s := range []client.Segment{lease.Segments[0], batch.Results[0].Segments[0]} {
		b, err := c.Bytes(s)
		must(t, err)
		checkTagged(t, b, 1, 1, s.FileOffset)
	}
	r := &ringOf{t: t, Ring: ring, mount: c}
	r.check(r.do(client.Op{Kind: client.OpFetch, File: number, Name: "1", Length: 5000}), 1, 1, 0, 5000)
	runtime.KeepAlive(lease)
	runtime.KeepAlive(batch)
}

// leaveOpen opens files, and forgets them.
func leaveOpen(t *testing.T, c *client.Mount, ring *client.Ring, dir, path string) (*client.Lease, *client.Batch, client.RingFile) {
	t.Helper()
	f, err := c.Open(path)
	must(t, err)
	lease, err := f.Fetch(context.Background(), 0, 1000, client.FetchOptions{})
	must(t, err)
	d, err := c.OpenDir(dir)
	must(t, err)
	batch := new(client.Batch)
	must(t, d.FetchFiles(context.Background(), batch, []client.Want{{Name: "1", Length: 10}}, client.BatchOptions{}))
	number, err := ring.RegisterDir(d)
	must(t, err)
	return lease, batch, number
}
