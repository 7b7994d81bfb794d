package integration

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hbmfs/fs/client"
)

// TestRenamedDirectories: directories that the mount knows change places at the
// target. Each name leads to what is there now.
func TestRenamedDirectories(t *testing.T) {
	src := t.TempDir()
	for i, dir := range []string{"cur", "nxt"} {
		must(t, os.Mkdir(filepath.Join(src, dir), 0o755))
		writeTagged(t, filepath.Join(src, dir, "x"), i+1, 1, 100)
		writeTagged(t, filepath.Join(src, dir, "y"), i+1, 2, 100)
	}
	_, addr := startTarget(t, "127.0.0.1:0", "data="+src)
	m := startMount(t, addr+"/data")
	checkTagged(t, mustRead(t, m.path("cur/x")), 1, 1, 0)
	checkTagged(t, mustRead(t, m.path("nxt/x")), 2, 1, 0)

	must(t, os.Rename(filepath.Join(src, "cur"), filepath.Join(src, "old")))
	must(t, os.Rename(filepath.Join(src, "nxt"), filepath.Join(src, "cur")))
	time.Sleep(1100 * time.Millisecond) // names may be a second old
	checkTagged(t, mustRead(t, m.path("old/x")), 1, 1, 0)
	checkTagged(t, mustRead(t, m.path("old/y")), 1, 2, 0)
	checkTagged(t, mustRead(t, m.path("cur/x")), 2, 1, 0)
	checkTagged(t, fetchAll(t, m.path("cur/y"), 0, 100), 2, 2, 0)
	if _, err := os.Stat(m.path("nxt")); !os.IsNotExist(err) {
		t.Errorf("the old name: %v, want ENOENT", err)
	}
}

// TestRegionsOfNextDaemon: a program that outlives a daemon never reads what the
// old one left in memory as what the new one fetched.
func TestRegionsOfNextDaemon(t *testing.T) {
	src := t.TempDir()
	writeTagged(t, filepath.Join(src, "a"), 1, 1, 4096)
	writeTagged(t, filepath.Join(src, "b"), 2, 1, 4096)
	m := startMount(t, src)
	c, err := client.OpenMount(m.dir)
	must(t, err)
	defer c.Close()
	fetchTagged(t, c, m.path("a"), 1)
	must(t, m.Process.Kill())
	<-m.done
	startMountAt(t, src, m.dir)
	// If another mount on this machine got the device number meanwhile, the
	// client sees that this is not its mount.
	if f, err := c.Open(m.path("b")); errors.Is(err, client.ErrNotHBMFS) {
		return
	} else if err == nil {
		f.Close()
	}
	fetchTagged(t, c, m.path("b"), 2)
}

func fetchTagged(t *testing.T, c *client.Mount, path string, file int) {
	t.Helper()
	f, err := c.Open(path)
	must(t, err)
	defer f.Close()
	r, err := f.Fetch(t.Context(), 0, 4096, client.FetchOptions{})
	must(t, err)
	b, err := c.Bytes(r.Segments[0])
	must(t, err)
	checkTagged(t, b, file, 1, 0)
}
