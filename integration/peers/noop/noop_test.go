package noop

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hbmfs/fs/client"
	"hbmfs/integration/peers/load"
	"hbmfs/integration/process"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve serves a mount with so many files until the test ends.
func serve(t *testing.T, files string) (dir string) {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil || os.Geteuid() != 0 {
		t.Skip("unsupported: needs root and /dev/fuse")
	}
	dir = t.TempDir()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, []string{dir, files}) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for !process.IsMounted(dir) {
		select {
		case err := <-ended:
			t.Fatal(err)
		case <-time.After(time.Millisecond):
		}
	}
	return dir
}

// TestClientIsAnswered: a client takes the mount for one of hbmfs.
func TestClientIsAnswered(t *testing.T) {
	dir := serve(t, "2")
	m, err := client.OpenMount(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	f, err := m.Open(filepath.Join(dir, load.Name(1)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	x, err := f.Fetch(t.Context(), 0, 1<<30, client.FetchOptions{})
	if err != nil || x.Fetched != x.FileSize || len(x.Segments) != 1 || !x.Segments[0].Hit {
		t.Errorf("%+v, error %v", x, err)
	}
	if _, err := m.Open(filepath.Join(dir, load.Name(2))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file beyond the last: %v", err)
	}
}
