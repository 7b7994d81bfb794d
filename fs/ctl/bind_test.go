package ctl

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hbmfs/fs/beside"
	"hbmfs/fs/mountwatch"
)

// newBound returns a server that is bound, and serves nobody.
func newBound(t *testing.T) *Server {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	s := &Server{cfg: Config{Log: slog.New(slog.DiscardHandler)}}
	var err error
	if s.watch, err = mountwatch.New("/proc"); err != nil {
		t.Fatal(err)
	}
	if s.beside, err = beside.Make(s.watch.Device, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.bindIn(s.beside.File); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestCtlCloseStuck: a client whose descriptor the kernel does not let go of keeps nobody
// from unmounting.
func TestCtlCloseStuck(t *testing.T) {
	s := newBound(t)
	s.wg.Add(1)
	defer s.wg.Done()
	closed := make(chan struct{})
	go func() { s.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(endWait + 5*time.Second):
		t.Fatal("it waits for ever")
	}
	if _, err := os.Lstat(filepath.Join(s.beside.Path, SocketName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("closed, and the socket: %v", err)
	}
}

// TestCtlCloseWaits: whoever closes the control socket returns once its directory
// is gone, though another had begun to close it.
func TestCtlCloseWaits(t *testing.T) {
	s := newBound(t)
	closed := make(chan error, 2)
	s.wg.Add(cap(closed)) // clients that are served
	for range cap(closed) {
		go func() {
			s.Close()
			_, err := os.Lstat(filepath.Join(s.beside.Path, SocketName))
			closed <- err
		}()
	}
	time.Sleep(10 * time.Millisecond)
	s.wg.Add(-cap(closed))
	for range cap(closed) {
		if err := <-closed; !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("closed, and the socket: %v", err)
		}
	}
}
