package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
	"hbmfs/remote"
)

// errorBound is within what a request fails that the target does not answer:
// the mount's time-out, and some for a machine that is busy.
const errorBound = remote.DefaultTimeout + 5*time.Second

// rig is a target and a mount of it, with a proxy between them.
type rig struct {
	src    string // what the target serves
	target *process
	addr   string // the target's
	proxy  *proxy
	*mount
}

func startRig(t *testing.T, flags ...string) *rig {
	t.Helper()
	r := &rig{src: t.TempDir()}
	r.target, r.addr = startTarget(t, "127.0.0.1:0", "data="+r.src)
	r.proxy = startProxy(t, r.addr)
	r.mount = startMount(t, r.proxy.addr+"/data", flags...)
	return r
}

// restart starts the target anew, where it was.
func (r *rig) restart() {
	r.t.Helper()
	r.target, _ = startTarget(r.t, r.addr, "data="+r.src)
}

// write makes a file of version 1 at the target and returns its path in the mount.
func (r *rig) write(name string, file int, size int64) string {
	r.t.Helper()
	writeTagged(r.t, filepath.Join(r.src, name), file, 1, size)
	return r.path(name)
}

// ways are the two ways to the bytes of a file of the given size.
var ways = map[string]func(path string, size int64) ([]byte, error){
	"fetch":      func(path string, size int64) ([]byte, error) { return tryFetchAll(path, 0, size) },
	"plain read": func(path string, _ int64) ([]byte, error) { return os.ReadFile(path) },
}

// outcome is how a read ended, and when.
type outcome struct {
	bytes []byte
	err   error
	took  time.Duration
}

// goRead reads in the background.
func goRead(read func(string, int64) ([]byte, error), path string, size int64) <-chan outcome {
	c := make(chan outcome, 1)
	began := time.Now()
	go func() {
		b, err := read(path, size)
		c <- outcome{b, err, time.Since(began)}
	}()
	return c
}

func await[T any](t *testing.T, what string, c <-chan T, bound time.Duration) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(bound):
		t.Fatalf("%s: not within %v", what, bound)
	}
	return v
}

// checkWhole fails the test unless all of a file of version 1 came.
func checkWhole(t *testing.T, o outcome, file int, size int64) {
	t.Helper()
	must(t, o.err)
	if int64(len(o.bytes)) != size {
		t.Fatalf("%d bytes came, want %d", len(o.bytes), size)
	}
	checkTagged(t, o.bytes, file, 1, 0)
}

// checkEIO fails the test unless a read of a file of version 1 failed with EIO,
// after nothing but right bytes.
func checkEIO(t *testing.T, o outcome, file int) {
	t.Helper()
	if !errors.Is(o.err, unix.EIO) {
		t.Fatalf("error after %v: %v, want EIO", o.took, o.err)
	}
	checkTagged(t, o.bytes, file, 1, 0)
}

// TestTargetDiesMidTransfer: half of a payload has come when the target is
// killed, or told to end. If it comes back in time, nobody notices; if not, the
// error comes in time, and the mount recovers once the target is there again.
func TestTargetDiesMidTransfer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		how     string
		sig     syscall.Signal
		return_ bool
	}{
		{"killed, comes back", unix.SIGKILL, true},
		{"killed, stays away", unix.SIGKILL, false},
		{"terminated, stays away", unix.SIGTERM, false},
	} {
		for way, read := range ways {
			t.Run(way+"/"+c.how, func(t *testing.T) {
				t.Parallel()
				const size = 4<<20 + 123
				r := startRig(t)
				path := r.write("f", 1, size)
				struck := r.proxy.inject(stall, 1<<20)
				got := goRead(read, path, size)
				await(t, "a transfer under way", struck, errorBound)
				r.target.kill(c.sig)
				r.proxy.heal()
				if c.return_ {
					r.restart()
					o := await(t, way, got, errorBound)
					checkWhole(t, o, 1, size)
					t.Logf("all bytes came %v after the start of the %s", o.took, way)
					return
				}
				o := await(t, way, got, errorBound)
				checkEIO(t, o, 1)
				t.Logf("EIO after %v", o.took)
				r.restart()
				back := time.Now()
				eventually(t, "the mount recovers", func() error {
					b, err := read(path, size)
					if err == nil {
						checkWhole(t, outcome{bytes: b}, 1, size)
					}
					return err
				})
				t.Logf("recovered %v after the target came back", time.Since(back))
			})
		}
	}
}

// TestTargetTerminated: a target ends in order also while mounts are connected
// and wait for it.
func TestTargetTerminated(t *testing.T) {
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGINT} {
		r := startRig(t)
		path := r.write("f", 1, 1<<20)
		struck := r.proxy.inject(stall, 64<<10)
		got := goRead(ways["fetch"], path, 1<<20)
		await(t, "a transfer under way", struck, errorBound)
		r.target.kill(sig)
		if r.target.err != nil {
			t.Errorf("the target ended with %v of %v, want status 0", r.target.err, sig)
		}
		r.restart()
		r.proxy.heal()
		checkWhole(t, await(t, "fetch", got, errorBound), 1, 1<<20)
	}
}

// TestChangedWhileAway: what was open when the target died is of the old version
// or ESTALE afterwards if it changed meanwhile, and goes on if not.
func TestChangedWhileAway(t *testing.T) {
	const size = 4 << 20
	r := startRig(t)
	changed, same := r.write("changed", 1, size), r.write("same", 2, size)
	f, err := client.Open(changed)
	must(t, err)
	defer f.Close()
	before, err := f.Fetch(context.Background(), 0, 1<<20, client.FetchOptions{})
	must(t, err)
	old := mustOpen(t, changed, os.O_RDONLY)
	defer old.Close()
	kept := mustOpen(t, same, os.O_RDONLY)
	defer kept.Close()
	g, err := client.Open(same)
	must(t, err)
	defer g.Close()

	r.target.kill(unix.SIGKILL)
	writeTagged(t, filepath.Join(r.src, "changed.new"), 1, 2, size)
	must(t, os.Rename(filepath.Join(r.src, "changed.new"), filepath.Join(r.src, "changed")))
	r.restart()

	// Not only what was opened is gone, but also who watched it.
	checkOldFetch(t, f, before, "while the target was away")
	checkOldFD(t, old)
	checkNewOpen(t, changed, size)

	b, err := io.ReadAll(kept)
	must(t, err)
	checkTagged(t, b, 2, 1, 0)
	after, err := g.Fetch(context.Background(), 0, size, client.FetchOptions{})
	must(t, err)
	for _, s := range after.Segments {
		b, err := g.Bytes(s)
		must(t, err)
		checkTagged(t, b, 2, 1, s.FileOffset)
	}
}

// TestDamagedTransfer: a connection ends within a payload, or a bit of it is
// wrong. The bytes are right all the same, or there is an error.
func TestDamagedTransfer(t *testing.T) {
	const size = 2<<20 + 77
	r := startRig(t)
	file := 0
	for name, f := range map[string]fault{"cut": cut, "flip": flip} {
		for way, read := range ways {
			file++
			t.Run(name+"/"+way, func(t *testing.T) {
				path := r.write(fmt.Sprintf("f%d", file), file, size)
				before := r.stats()
				struck := r.proxy.inject(f, 300<<10)
				o := await(t, way, goRead(read, path, size), errorBound)
				await(t, "the fault", struck, 0)
				if o.err != nil && f == flip {
					checkEIO(t, o, file)
				} else {
					checkWhole(t, o, file, size)
				}
				b, err := read(path, size)
				checkWhole(t, outcome{bytes: b, err: err}, file, size)
				after := r.stats()
				if f == cut && after.Target.Link.Reconnects == before.Target.Link.Reconnects {
					t.Error("no connection was replaced")
				}
				if f == flip && after.Target.Errors+after.Target.Retries == before.Target.Errors+before.Target.Retries {
					t.Error("the wrong bit was not noticed")
				}
			})
		}
	}
}
