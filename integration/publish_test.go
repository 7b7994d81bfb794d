package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hbmfs/fs/client"
)

const publishedSize = 300_000

// publish makes a tree of that version at dir: x, sub/x, sub/unread, which the
// kernel has no pages of, and a file named after the version.
func publish(t *testing.T, dir string, version int) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(dir, "sub"), 0o755))
	writeTagged(t, filepath.Join(dir, "x"), 1, version, publishedSize)
	writeTagged(t, filepath.Join(dir, "sub/x"), 2, version, 100)
	writeTagged(t, filepath.Join(dir, "sub/unread"), 4, version, publishedSize)
	writeTagged(t, filepath.Join(dir, fmt.Sprintf("only-in-%d", version)), 3, version, 100)
}

// shows waits until the mount at dir shows the tree of that version, and nothing
// else, in the time that names may be old.
func shows(t *testing.T, dir string, version int) {
	t.Helper()
	began := time.Now()
	only := fmt.Sprintf("only-in-%d", version)
	eventually(t, "the new tree", func() error {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		if len(entries) != 3 || entries[0].Name() != only {
			return fmt.Errorf("%v, want %s, sub, x", entries, only)
		}
		return nil
	})
	if took := time.Since(began); took > 4*time.Second { // twice what it may be, on a busy machine
		t.Errorf("the new names came after %v", took)
	}
	eventually(t, "the new files", func() error {
		b, err := os.ReadFile(filepath.Join(dir, "sub/x"))
		if err != nil {
			return err
		}
		return wrongWord(b, 2, version, 0)
	})
	checkTagged(t, mustRead(t, filepath.Join(dir, only)), 3, version, 0)
	checkTagged(t, mustRead(t, filepath.Join(dir, "x")), 1, version, 0)
	checkTagged(t, fetchAll(t, filepath.Join(dir, "x"), 0, publishedSize), 1, version, 0)
}

// heldOpen is a file of a mount that is open, with a range in device memory.
type heldOpen struct {
	t    *testing.T
	file *client.File
	data []byte
	read *os.File
}

func holdOpen(t *testing.T, dir string, version int) *heldOpen {
	t.Helper()
	m, err := client.OpenMount(dir)
	must(t, err)
	t.Cleanup(func() { m.Close() })
	f, err := m.Open(filepath.Join(dir, "x"))
	must(t, err)
	t.Cleanup(func() { f.Close() })
	h := &heldOpen{t: t, file: f, data: pin(t, f, 0, publishedSize, client.FetchOptions{}).data}
	h.read = mustOpen(t, filepath.Join(dir, "sub/unread"), os.O_RDONLY)
	t.Cleanup(func() { h.read.Close() })
	checkTagged(t, h.data, 1, version, 0)
	return h
}

// isStale: neither a fetch nor a read of open files of the old tree gets bytes.
func (h *heldOpen) isStale() {
	h.t.Helper()
	if _, err := tryPin(h.file, 0, publishedSize, client.FetchOptions{}); !errors.Is(err, syscall.ESTALE) {
		h.t.Errorf("fetch of an old file: %v, want ESTALE", err)
	}
	if _, err := h.read.ReadAt(make([]byte, 4096), 8192); !errors.Is(err, syscall.ESTALE) {
		h.t.Errorf("read of an old file: %v, want ESTALE", err)
	}
}

// TestPublish: the export's path is replaced as data sets are published, also
// while programs read.
func TestPublish(t *testing.T) {
	for how, replace := range map[string]func(t *testing.T, live, next string){
		"rename": func(t *testing.T, live, next string) {
			must(t, os.Rename(live, next+".old"))
			must(t, os.Rename(next, live))
		},
		"deleted": func(t *testing.T, live, next string) {
			must(t, os.Rename(live, next+".old"))
			must(t, os.Rename(next, live))
			must(t, os.RemoveAll(next+".old"))
		},
		"link": func(t *testing.T, live, next string) {
			must(t, os.Symlink(next, live+".new"))
			must(t, os.RemoveAll(live+".old"))
			if info, err := os.Lstat(live); err == nil && info.IsDir() {
				must(t, os.Rename(live, live+".old"))
			}
			must(t, os.Rename(live+".new", live))
		},
	} {
		t.Run(how, func(t *testing.T) { testPublish(t, replace) })
	}
}

func testPublish(t *testing.T, replace func(t *testing.T, live, next string)) {
	dir := t.TempDir()
	live := filepath.Join(dir, "live")
	publish(t, live, 1)
	for from, source := range sources(t, live) {
		t.Run(from, func(t *testing.T) {
			m := startMount(t, source)
			reader := readOn(m.path("x"))
			first := versionOf(t, m.path("x"))
			for version := first + 1; version < first+4; version++ {
				shows(t, m.dir, version-1)
				old := holdOpen(t, m.dir, version-1)
				next := filepath.Join(dir, fmt.Sprintf("%s-%d", from, version))
				publish(t, next, version)
				replace(t, live, next)
				shows(t, m.dir, version)
				old.isStale()
			}
			must(t, reader.stop())
			if log := m.output(); strings.Count(log, "dataset replaced") != 3 {
				t.Errorf("the mount's log says %d times that the dataset was replaced, want 3", strings.Count(log, "dataset replaced"))
			}
		})
	}
}

// TestPublishAroundTheOld: the new tree has the old one in it. The mount's root is
// not found in itself.
func TestPublishAroundTheOld(t *testing.T) {
	dir := t.TempDir()
	live, next := filepath.Join(dir, "live"), filepath.Join(dir, "next")
	publish(t, live, 1)
	_, addr := startTarget(t, "127.0.0.1:0", "data="+live)
	for _, top := range []string{startMount(t, addr+"/data").dir, startMount(t, addr).path("data")} {
		version := versionOf(t, filepath.Join(top, "x"))
		shows(t, top, version)
		publish(t, next, version+1)
		must(t, os.Rename(live, filepath.Join(dir, "old")))
		must(t, os.Rename(next, live))
		must(t, os.Rename(filepath.Join(dir, "old"), filepath.Join(live, "sub/old")))
		shows(t, top, version+1)
		checkTagged(t, mustRead(t, filepath.Join(top, "sub/old/x")), 1, version, 0)
		out, err := exec.Command("find", top, "-name", "x").CombinedOutput()
		if found := strings.Count(string(out), "/x\n"); err != nil || found != 2*(version+1) {
			t.Errorf("find: %d files, want %d: %v\n%s", found, 2*(version+1), err, out)
		}
	}
}

// versionOf reads the version out of a tagged file.
func versionOf(t *testing.T, path string) int {
	t.Helper()
	return int(mustRead(t, path)[2])
}

// reader reads a file again and again: each time it must get one version whole,
// or ESTALE where that ends amid the file.
type reader struct {
	quit chan struct{}
	done sync.WaitGroup
	err  error
}

func readOn(path string) *reader {
	r := &reader{quit: make(chan struct{})}
	r.done.Go(func() {
		for r.err == nil {
			select {
			case <-r.quit:
				return
			default:
			}
			b, err := os.ReadFile(path)
			switch {
			case errors.Is(err, syscall.ESTALE):
			case err != nil:
				r.err = err
			case len(b) != publishedSize:
				r.err = fmt.Errorf("%d bytes of %s", len(b), path)
			default:
				r.err = wrongWord(b, 1, int(b[2]), 0)
			}
		}
	})
	return r
}

func (r *reader) stop() error {
	close(r.quit)
	r.done.Wait()
	return r.err
}
