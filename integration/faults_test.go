package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
	"hbmfs/remote"
)

// slack is what a machine that is busy may take beyond a bound.
const slack = 5 * time.Second

// way is one of the two ways to the bytes of a file. Each reads a file of its
// own, which has its name and its number.
type way struct {
	name string
	file int
	// open returns what reads all of the file and closes it.
	open func(path string, size int64) (read func() ([]byte, error), err error)
	// bound is within what a read ends if the target does not answer.
	bound time.Duration
}

var ways = []way{
	{"fetch", 1, func(path string, size int64) (func() ([]byte, error), error) {
		return openToFetch(path, 0, size)
	}, remote.DefaultTimeout + slack},
	// The kernel asks again for the page whose read-ahead failed.
	{"plain read", 2, func(path string, _ int64) (func() ([]byte, error), error) {
		f, err := os.Open(path)
		return func() ([]byte, error) {
			defer f.Close()
			return io.ReadAll(f)
		}, err
	}, 2*remote.DefaultTimeout + slack},
}

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

// outcome is how a read ended, and when.
type outcome struct {
	bytes []byte
	err   error
	took  time.Duration
}

// start opens a file and reads it in the background.
func (w way) start(path string, size int64) <-chan outcome {
	return inBackground(func() ([]byte, error) {
		read, err := w.open(path, size)
		if err != nil {
			return nil, err
		}
		return read()
	})
}

func inBackground(read func() ([]byte, error)) <-chan outcome {
	c := make(chan outcome, 1)
	began := time.Now()
	go func() {
		b, err := read()
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

// startBothWays starts to read a file in each way, and returns once payload of
// both is under way, held back by the proxy.
func (r *rig) startBothWays(size int64) (got []<-chan outcome) {
	r.t.Helper()
	var reads []func() ([]byte, error)
	for _, w := range ways {
		read, err := w.open(r.write(w.name, w.file, size), size) // by the connections that are to stall
		must(r.t, err)
		reads = append(reads, read)
	}
	struck := r.proxy.inject(stall, 1<<20)
	for _, read := range reads {
		got = append(got, inBackground(read))
	}
	await(r.t, "a transfer under way", struck, slack)
	eventually(r.t, "both under way", func() error {
		s := r.stats()
		extents := s.Cache.Filling.Extents
		if reads := s.Target.Link.InFlight - extents; extents == 0 || reads <= 0 {
			return fmt.Errorf("%d extents and %d reads", extents, reads)
		}
		return nil
	})
	return got
}

// TestTargetKilled: a part of some payload has come when the target is killed.
// If it comes back in time, nobody notices; if not, the error comes in time, and
// the mount recovers once the target is there again.
func TestTargetKilled(t *testing.T) {
	t.Parallel()
	const size = 4<<20 + 123
	t.Run("comes back", func(t *testing.T) {
		t.Parallel()
		r := startRig(t)
		got := r.startBothWays(size)
		r.target.kill(unix.SIGKILL)
		killed := time.Now()
		r.proxy.heal()
		r.restart()
		for i, w := range ways {
			checkWhole(t, await(t, w.name, got[i], w.bound), w.file, size)
		}
		t.Logf("all bytes were there %v after the kill", time.Since(killed))
	})
	t.Run("stays away", func(t *testing.T) {
		t.Parallel()
		const size = 64 << 20 // more than the sockets hold
		r := startRig(t)
		got := r.startBothWays(size)
		r.target.kill(unix.SIGKILL)
		r.proxy.heal()
		for i, w := range ways {
			o := await(t, w.name, got[i], w.bound)
			checkEIO(t, o, w.file)
			t.Logf("%s: EIO after %v", w.name, o.took)
		}
		r.restart()
		r.checkRecovers(size)
	})
}

// checkRecovers fails the test unless both ways work again.
func (r *rig) checkRecovers(size int64) {
	r.t.Helper()
	back := time.Now()
	for _, w := range ways {
		o := await(r.t, w.name, w.start(r.path(w.name), size), w.bound)
		checkWhole(r.t, o, w.file, size)
	}
	r.t.Logf("recovered %v after the target came back", time.Since(back))
}

// TestTargetTerminated: a target ends in order also while mounts are connected
// and do not take what it sends.
func TestTargetTerminated(t *testing.T) {
	const size = 4 << 20
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			r := startRig(t)
			got := r.startBothWays(size)
			r.target.kill(sig)
			if r.target.err != nil {
				t.Errorf("the target ended with %v, want status 0", r.target.err)
			}
			r.proxy.heal()
			r.restart()
			for i, w := range ways {
				checkWhole(t, await(t, w.name, got[i], w.bound), w.file, size)
			}
		})
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

	r.target.kill(unix.SIGKILL)
	must(t, os.Remove(filepath.Join(r.src, "changed")))
	writeTagged(t, filepath.Join(r.src, "changed"), 1, 2, size)
	r.restart()

	checkOldFetch(t, f, before, "while the target was away")
	checkOldFD(t, old)
	checkNewOpen(t, changed, size)
	b, err := io.ReadAll(kept)
	checkWhole(t, outcome{bytes: b, err: err}, 2, size)
	if n := r.target.openFiles(filepath.Join(r.src, "same")); n == 0 {
		t.Error("the target did not open again what the mount has open")
	}
}

// openFiles returns how many descriptors the process has of path.
func (p *process) openFiles(path string) (n int) {
	dir := fmt.Sprintf("/proc/%d/fd", p.Process.Pid)
	fds, err := os.ReadDir(dir)
	must(p.t, err)
	for _, fd := range fds {
		if to, _ := os.Readlink(filepath.Join(dir, fd.Name())); to == path {
			n++
		}
	}
	return n
}

// TestDamagedTransfer: a connection ends within a payload, or a bit of it is
// wrong. The bytes are right all the same, or there is an error.
func TestDamagedTransfer(t *testing.T) {
	const size = 2<<20 + 77
	faults := map[string]struct {
		fault
		noticed func(before, after remote.Stats) bool
	}{
		"cut": {cut, func(before, after remote.Stats) bool {
			return after.Link.Reconnects > before.Link.Reconnects
		}},
		"flip": {flip, func(before, after remote.Stats) bool {
			return after.Errors+after.Retries > before.Errors+before.Retries
		}},
	}
	for name, f := range faults {
		for _, w := range ways {
			t.Run(name+"/"+w.name, func(t *testing.T) {
				r := startRig(t)
				path := r.write("f", w.file, size)
				before := r.stats().Target
				struck := r.proxy.inject(f.fault, 300<<10)
				o := await(t, w.name, w.start(path, size), w.bound)
				await(t, "the fault", struck, slack)
				if o.err != nil && f.fault == flip {
					checkEIO(t, o, w.file)
				} else {
					checkWhole(t, o, w.file, size)
				}
				checkWhole(t, await(t, w.name, w.start(path, size), w.bound), w.file, size)
				eventually(t, "the fault shows in the counters", func() error {
					if after := r.stats().Target; !f.noticed(before, after) {
						return fmt.Errorf("before: %+v, after: %+v", before, after)
					}
					return nil
				})
			})
		}
	}
}

// TestConcurrentReads: many readers at once, with a request of each under way at
// any time, get their own bytes.
func TestConcurrentReads(t *testing.T) {
	const readers, size, chunk = 16, 4 << 20, 64 << 10
	src := t.TempDir()
	for via, source := range sources(t, src) {
		t.Run(via, func(t *testing.T) {
			m := startMount(t, source)
			var g errgroup.Group
			for file := range readers {
				name := via + strconv.Itoa(file)
				writeTagged(t, filepath.Join(src, name), file, 1, size)
				f := mustOpen(t, m.path(name), os.O_RDONLY|unix.O_DIRECT)
				defer f.Close()
				g.Go(func() error {
					b := aligned(chunk)
					for off := int64(0); off < 4*size; off += chunk {
						if _, err := f.ReadAt(b, off%size); err != nil {
							return err
						}
						if err := wrongWord(b, file, 1, off%size); err != nil {
							return err
						}
					}
					return nil
				})
			}
			must(t, g.Wait())
		})
	}
}
