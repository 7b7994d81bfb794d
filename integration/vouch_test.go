package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
	"hbmfs/fs/uapi"
	"hbmfs/integration/relay"
)

func startRelay(t *testing.T, target string) *relay.Relay {
	t.Helper()
	r, err := relay.Start(target)
	must(t, err)
	t.Cleanup(r.Close)
	return r
}

// overwrite is a writer that the target holds for a term at most.
func overwrite(t *testing.T, path string, version int, size int64) {
	t.Helper()
	began := time.Now()
	f := mustOpen(t, path, os.O_WRONLY)
	_, err := f.WriteAt(tagged(1, version, 0, size), 0)
	must(t, errors.Join(err, f.Close()))
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("a writer was held for %v", took)
	}
}

// resident opens a file and has its version 1 in device memory.
func resident(t *testing.T, m *mount, name string, size int64) *client.File {
	t.Helper()
	f, err := client.Open(m.path(name))
	must(t, err)
	t.Cleanup(func() { f.Close() })
	r := pin(t, f, 0, size, client.FetchOptions{})
	checkTagged(t, r.data, 1, 1, 0)
	if r.Unsettled {
		t.Fatal("the file is unsettled")
	}
	err = f.Release(r.Handle)
	must(t, err)
	return f
}

// TestStoppedMount is stopped while a file changes, for longer than its term or
// not: what it says after the write is complete is ESTALE.
func TestStoppedMount(t *testing.T) {
	const size = 1 << 20
	src := t.TempDir()
	_, addr := startTarget(t, "127.0.0.1:0", "data="+src)
	m := startMount(t, addr+"/data")
	for how, change := range writers {
		if how == "rename over" {
			continue // what is open stays what it was
		}
		for _, pause := range []time.Duration{0, 100 * time.Millisecond, 700 * time.Millisecond, time.Second} {
			name := fmt.Sprintf("%s-%v", strings.ReplaceAll(how, " ", "-"), pause)
			path := filepath.Join(src, name)
			writeTagged(t, path, 1, 1, size)
			f := resident(t, m, name, size)
			must(t, m.Process.Signal(unix.SIGSTOP))
			change(t, path, size)
			time.Sleep(pause)
			must(t, m.Process.Signal(unix.SIGCONT))
			if r, err := tryPin(f, 0, size, client.FetchOptions{}); !errors.Is(err, unix.ESTALE) {
				t.Errorf("%s: FETCH after the change was complete: %+v, %v", name, r.Lease, err)
			}
			checkTagged(t, fetchAll(t, m.path(name), 0, size), 1, 2, 0)
		}
	}
}

// TestCutOff: the network fails without a word, and a file changes. FETCH of what
// is resident says that it may be old, and a strict mount refuses; plain reads of
// what the kernel keeps do not pass it off as new either. When the network is
// back, the file is stale.
func TestCutOff(t *testing.T) {
	const size = 1 << 20
	src := t.TempDir()
	_, addr := startTarget(t, "127.0.0.1:0", "data="+src)
	r := startRelay(t, addr)
	m, strict := startMount(t, r.Addr()+"/data"), startMount(t, r.Addr()+"/data", "--strict")
	path := filepath.Join(src, "f")
	writeTagged(t, path, 1, 1, size)
	f, refused := resident(t, m, "f", size), resident(t, strict, "f", size)
	plain := mustOpen(t, m.path("f"), os.O_RDONLY)
	defer plain.Close()
	page := make([]byte, 4096)
	_, err := plain.ReadAt(page, 0)
	must(t, err)
	checkTagged(t, page, 1, 1, 0)

	heal := r.Cut()
	defer heal()
	overwrite(t, path, 2, size)
	for range 3 {
		began := time.Now()
		got := pin(t, f, 0, size, client.FetchOptions{})
		checkTagged(t, got.data, 1, 1, 0)
		if !got.Unsettled || got.Why != uapi.WhyTargetAway {
			t.Fatalf("FETCH while nobody can say whether the file changed: unsettled %v, %v", got.Unsettled, got.Why)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("FETCH of what is resident took %v", took)
		}
		err := f.Release(got.Handle)
		must(t, err)
	}
	if _, err := tryPin(refused, 0, size, client.FetchOptions{}); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("FETCH from a strict mount: %v, want EAGAIN", err)
	}
	if s := m.stats(); s.Target.AwaySince == nil || s.Target.AwayWhy == "" {
		t.Errorf("stat says nothing of a target that does not answer: %v %q", s.Target.AwaySince, s.Target.AwayWhy)
	}
	read := make(chan error, 1)
	go func() {
		_, err := plain.ReadAt(page, 0)
		read <- err
	}()
	select {
	case err := <-read:
		if !errors.Is(err, unix.EIO) && !errors.Is(err, unix.ESTALE) {
			t.Errorf("read from the page cache: %v, want EIO or ESTALE", err)
		}
	case <-time.After(time.Second): // it waits for the target
	}
	heal()
	for _, f := range []*client.File{f, refused} {
		turnsStale(t, f, size)
	}
	checkTagged(t, fetchAll(t, m.path("f"), 0, size), 1, 2, 0)
}

// TestKilledTargetVouchesForNothing: its leases go with it, and what it had been
// asked for is no longer good.
func TestKilledTargetVouchesForNothing(t *testing.T) {
	const size = 1 << 20
	src := t.TempDir()
	path := filepath.Join(src, "f")
	writeTagged(t, path, 1, 1, size)
	target, addr := startTarget(t, "127.0.0.1:0", "data="+src)
	m := startMount(t, addr+"/data")
	f := resident(t, m, "f", size)
	target.kill(syscall.SIGKILL)
	time.Sleep(500 * time.Millisecond) // a term is what is promised
	overwrite(t, path, 2, size)
	got := pin(t, f, 0, size, client.FetchOptions{})
	checkTagged(t, got.data, 1, 1, 0)
	if !got.Unsettled || got.Why != uapi.WhyTargetAway {
		t.Errorf("FETCH without a target: unsettled %v, %v", got.Unsettled, got.Why)
	}
	startTarget(t, addr, "data="+src)
	turnsStale(t, f, size)
}

// turnsStale: until the mount knows that the file changed, it says that it does
// not.
func turnsStale(t *testing.T, f *client.File, size int64) {
	t.Helper()
	eventually(t, "the file is stale", func() error {
		r, err := tryPin(f, 0, size, client.FetchOptions{})
		switch {
		case errors.Is(err, unix.ESTALE):
			return nil
		case err == nil && !r.Unsettled:
			t.Fatal("version 1 is passed off as new")
		}
		return fmt.Errorf("%v", err)
	})
}

// TestIdleMountsAreQuiet: a mount with files open and resident sends nothing, but
// for what keeps its connection alive.
func TestIdleMountsAreQuiet(t *testing.T) {
	const size = 1 << 20
	src := t.TempDir()
	writeTagged(t, filepath.Join(src, "f"), 1, 1, size)
	_, addr := startTarget(t, "127.0.0.1:0", "data="+src)
	m := startMount(t, addr+"/data")
	resident(t, m, "f", size)
	w := m.watch()
	time.Sleep(time.Second)
	before := w.stats().Target
	time.Sleep(2 * time.Second)
	after := w.stats().Target
	if after.RoundTrips != before.RoundTrips || after.Renewals != before.Renewals {
		t.Errorf("an idle mount made %d calls and %d renewals", after.RoundTrips-before.RoundTrips, after.Renewals-before.Renewals)
	}
}

// TestGrowingFile: who has a file open that grows learns of it, whether a writer
// holds it open or opens it each time.
func TestGrowingFile(t *testing.T) {
	src := t.TempDir()
	m := startMount(t, src)
	for how, keep := range map[string]bool{"opened for each line": false, "held open": true} {
		t.Run(how, func(t *testing.T) {
			name := strings.ReplaceAll(how, " ", "-")
			w, err := os.OpenFile(filepath.Join(src, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
			must(t, err)
			write := func(line string) {
				t.Helper()
				_, err := w.WriteString(line)
				must(t, err)
				if !keep {
					must(t, w.Close())
					w, err = os.OpenFile(filepath.Join(src, name), os.O_WRONLY|os.O_APPEND, 0)
					must(t, err)
				}
			}
			defer func() { w.Close() }()
			write("first\n")
			if !keep {
				must(t, w.Close())
			}
			f := mustOpen(t, m.path(name), os.O_RDONLY)
			defer f.Close()
			_, err = io.ReadAll(f)
			must(t, err)
			if !keep {
				w = mustOpen(t, filepath.Join(src, name), os.O_WRONLY|os.O_APPEND)
			}
			write("second\n")
			eventually(t, "the new size or ESTALE", func() error {
				info, err := f.Stat()
				if errors.Is(err, unix.ESTALE) || err == nil && info.Size() == int64(len("first\nsecond\n")) {
					return nil
				}
				return fmt.Errorf("%v, %v", info, err)
			})
			eventually(t, "the new line or ESTALE, read at the end", func() error {
				b := make([]byte, 100)
				n, err := f.Read(b)
				if errors.Is(err, unix.ESTALE) || err == nil && string(b[:n]) == "second\n" {
					return nil
				}
				return fmt.Errorf("%q, %v", b[:n], err)
			})
			text, err := os.ReadFile(m.path(name))
			if err != nil || string(text) != "first\nsecond\n" {
				t.Errorf("opened anew: %q, %v", text, err)
			}
		})
	}
}

// page is a page of a version.
func page(version byte) []byte { return bytes.Repeat([]byte{version}, 4096) }

// readsNew reads the first page again and again for a while, after a write of
// version 2 was complete: it gets that, or an error.
func readsNew(t *testing.T, f *os.File) {
	t.Helper()
	b := make([]byte, 4096)
	for began := time.Now(); time.Since(began) < 600*time.Millisecond; {
		_, err := f.ReadAt(b, 0)
		if errors.Is(err, unix.ESTALE) {
			return
		}
		must(t, err)
		if b[0] != 2 {
			t.Fatalf("version %d from the page cache, %v after version 2 was complete", b[0], time.Since(began))
		}
	}
}

// mappedInKernel is a file in version 1 that is open, and whose page the kernel
// has.
func mappedInKernel(t *testing.T, m *mount, path, name string) *os.File {
	t.Helper()
	must(t, os.WriteFile(path, page(1), 0o644))
	time.Sleep(50 * time.Millisecond) // it is not of this tick of the clock
	f := mustOpen(t, m.path(name), os.O_RDONLY)
	t.Cleanup(func() { f.Close() })
	_, err := f.ReadAt(make([]byte, 4096), 0)
	must(t, err)
	return f
}

// TestWriterThatWaits opens a file for writing and does not write yet: who had it
// open goes on, as nothing changed, and must not miss the write.
func TestWriterThatWaits(t *testing.T) {
	src := t.TempDir()
	_, addr := startTarget(t, "127.0.0.1:0", "data="+src)
	m := startMount(t, addr+"/data")
	for i := range 10 {
		name := fmt.Sprint("f", i)
		path := filepath.Join(src, name)
		f := mappedInKernel(t, m, path, name)
		w := mustOpen(t, path, os.O_WRONLY)
		defer w.Close()
		b := make([]byte, 4096)
		for began := time.Now(); time.Since(began) < 50*time.Millisecond+time.Duration(i)*time.Millisecond; {
			if _, err := f.ReadAt(b, 0); err != nil {
				break // of a file that changed, as far as one knows
			}
		}
		_, err := w.WriteAt(page(2), 0)
		must(t, err)
		readsNew(t, f)
	}
}

// TestStaleSpeaksForAll: one open file is stale, for a writer that wrote nothing,
// and another of the same version is not, until it is closed.
func TestStaleSpeaksForAll(t *testing.T) {
	src := t.TempDir()
	_, addr := startTarget(t, "127.0.0.1:0", "data="+src)
	m := startMount(t, addr+"/data")
	path := filepath.Join(src, "f")
	f := mappedInKernel(t, m, path, "f")
	must(t, mustOpen(t, path, os.O_WRONLY).Close())
	time.Sleep(50 * time.Millisecond)
	other := mustOpen(t, m.path("f"), os.O_RDONLY)
	_, err := other.Stat()
	must(t, errors.Join(err, other.Close()))
	time.Sleep(50 * time.Millisecond) // it is closed at the target, too
	w := mustOpen(t, path, os.O_WRONLY)
	_, err = w.WriteAt(page(2), 0)
	must(t, errors.Join(err, w.Close()))
	readsNew(t, f)
}

// TestOneQuestion: a FETCH after a pause asks the target once.
func TestOneQuestion(t *testing.T) {
	const size = 1 << 20
	src := t.TempDir()
	writeTagged(t, filepath.Join(src, "f"), 1, 1, size)
	_, addr := startTarget(t, "127.0.0.1:0", "data="+src)
	m := startMount(t, addr+"/data")
	f := resident(t, m, "f", size)
	w := m.watch()
	for range 3 {
		time.Sleep(time.Second)
		before := w.stats().Target.Renewals
		pin(t, f, 0, 4096, client.FetchOptions{})
		time.Sleep(100 * time.Millisecond)
		if n := w.stats().Target.Renewals - before; n != 1 {
			t.Errorf("%d questions for one FETCH", n)
		}
	}
}
