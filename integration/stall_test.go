package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"hbmfs/cache"
	"hbmfs/fs"
	"hbmfs/fs/client"
	"hbmfs/fs/uapi"
)

func init() {
	if os.Getenv(childEnv) != "" {
		runtime.LockOSThread() // a signal to the process goes to its main thread
	}
	children["block"] = block
}

// block HELD FILE fetches a range of HELD and keeps it, waits for a line of
// input, makes one raw FETCH of FILE, tells its errno, and stays. SIGINT does not
// end it.
func block(args []string) error {
	held, err := client.Open(args[0])
	if err != nil {
		return err
	}
	if _, err := held.Fetch(context.Background(), 0, 4096, client.FetchOptions{}); err != nil {
		return err
	}
	f, err := os.Open(args[1])
	if err != nil {
		return err
	}
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	errno := rawFetch(f, interrupts)
	fmt.Printf("errno %d\n", errno)
	for {
		unix.Pause()
	}
}

// rawFetch makes one FETCH, and again only if a signal of Go's runtime broke it
// off.
func rawFetch(f *os.File, interrupts <-chan os.Signal) syscall.Errno {
	arg := make([]byte, uapi.FetchLen(1))
	for {
		uapi.EncodeFetch(arg, &uapi.Fetch{Size: uint32(uapi.FetchSize), Length: 4096, Flags: uapi.FetchSequential})
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(uapi.IocFetch(1)), uintptr(unsafe.Pointer(&arg[0])))
		if errno != unix.EINTR {
			return errno
		}
		select {
		case <-interrupts:
			return errno
		case <-time.After(time.Second):
		}
	}
}

// blocker is a process that runs block.
type blocker struct {
	*process
	input io.Writer
}

func startBlocker(t *testing.T, held, path string) blocker {
	t.Helper()
	cmd := child(t, "block", 0, held, path)
	input, err := cmd.StdinPipe()
	must(t, err)
	b := blocker{start(t, cmd), input}
	b.line("ready")
	return b
}

// fetch has the process call FETCH.
func (b blocker) fetch() {
	b.t.Helper()
	_, err := fmt.Fprintln(b.input)
	must(b.t, err)
}

// interrupt ends its FETCH.
func (b blocker) interrupt() {
	b.t.Helper()
	began := time.Now()
	must(b.t, b.Process.Signal(unix.SIGINT))
	b.line(fmt.Sprintf("errno %d", unix.EINTR))
	b.t.Logf("EINTR after %v", time.Since(began))
}

// watcher asks a mount for its counters by a connection that it has: no way leads
// through the file system.
type watcher struct {
	t *testing.T
	m *client.Mount
}

func (m *mount) watch() watcher {
	m.t.Helper()
	c, err := client.OpenMount(m.dir)
	must(m.t, err)
	m.t.Cleanup(func() { c.Close() })
	w := watcher{m.t, c}
	w.stats()
	return w
}

func (w watcher) stats() (s fs.Stats) {
	w.t.Helper()
	b, err := w.m.Stats()
	must(w.t, err)
	must(w.t, json.Unmarshal(b, &s))
	return s
}

// until waits until the counters are as ok wants them, and returns how long that
// took.
func (w watcher) until(what string, ok func(fs.Stats) bool) time.Duration {
	w.t.Helper()
	began := time.Now()
	eventually(w.t, what, func() error {
		if s := w.stats(); !ok(s) {
			return fmt.Errorf("%+v of the target, %+v of the cache", s.Target, s.Cache)
		}
		return nil
	})
	return time.Since(began)
}

func leases(n int64) func(fs.Stats) bool {
	return func(s fs.Stats) bool { return s.Cache.Leases == n }
}

// TestQuarantine: a transfer that comes in too slowly. Whoever waits gets EIO when
// the time is over, and the memory that it may still write is nobody's until
// it has ended.
func TestQuarantine(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	r := startRig(t, "--pool", "1MiB", "--extent", "1MiB")
	w := r.watch()
	slow := r.write("slow", ways[0].file, size)
	other, err := client.Open(r.write("other", 7, size)) // by the connections that are to fail
	must(t, err)
	defer other.Close()
	r.proxy.inject(trickle, 64<<10)
	o := await(t, "fetch", ways[0].start(slow, size), ways[0].bound)
	checkEIO(t, o, ways[0].file)
	t.Logf("EIO after %v", o.took)
	if s := w.stats().Cache; s.Quarantined != (cache.Usage{Extents: 1, Bytes: size}) || s.Leases != 0 {
		t.Errorf("after the error: %+v", s)
	}
	if _, err := other.Fetch(t.Context(), 0, size, client.FetchOptions{}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("FETCH into a pool that is under quarantine: %v, want ENOSPC", err)
	}
	r.proxy.heal()
	w.until("the quarantine ends", func(s fs.Stats) bool { return s.Cache.Quarantined.Extents == 0 })
	checkTagged(t, fetchAll(t, r.path("other"), 0, size), 7, 1, 0)
	checkTagged(t, fetchAll(t, slow, 0, size), ways[0].file, 1, 0)
}

// TestInterruptedFetch: a signal breaks off a FETCH that waits for a target, at
// once, and nothing is pinned by it. The transfer goes on.
func TestInterruptedFetch(t *testing.T) {
	const size = 1 << 20
	r := startRig(t)
	w := r.watch()
	held, f := r.write("held", 1, size), r.write("f", 2, size)
	b, other := startBlocker(t, held, f), startBlocker(t, held, f)
	struck := r.proxy.inject(stall, 64<<10)
	b.fetch()
	await(t, "a transfer under way", struck, slack)
	b.interrupt()
	if s := w.stats().Cache; s.Leases != 2 || s.Filling.Extents != 1 {
		t.Errorf("after EINTR: %+v", s)
	}

	other.fetch()
	w.until("another waits for it too", func(s fs.Stats) bool { return s.Cache.Joined == 1 })
	other.interrupt()
	r.proxy.heal()
	w.until("the transfer ends", func(s fs.Stats) bool { return s.Cache.Resident.Extents == 2 })
	checkTagged(t, fetchAll(t, f, 0, size), 2, 1, 0)
}

// stalledReads is more than the kernel has in the background by default.
const stalledReads = 64

// TestKilledInFetch: many plain reads hang, because of the data connections or
// the whole target. A release of another file takes effect all the same, and a
// process that is killed in FETCH is gone with all that it held.
func TestKilledInFetch(t *testing.T) {
	for name, freeze := range map[string]func(*rig) (thaw func()){
		"data connections stall": func(r *rig) func() { r.proxy.inject(stall, 0); return r.proxy.heal },
		"target is frozen": func(r *rig) func() {
			must(r.t, r.target.Process.Signal(unix.SIGSTOP))
			return func() { must(r.t, r.target.Process.Signal(unix.SIGCONT)) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRig(t)
			w := r.watch()
			held := r.write("held", 1, 1<<20)
			unrelated, err := client.Open(held)
			must(t, err)
			_, err = unrelated.Fetch(context.Background(), 0, 4096, client.FetchOptions{})
			must(t, err)
			b := startBlocker(t, held, r.write("f", 2, 1<<20))
			files := r.openMany(stalledReads, 64<<10)

			thaw := freeze(r)
			reads := make([]<-chan outcome, len(files))
			for i, f := range files {
				reads[i] = inBackground(func() ([]byte, error) { return io.ReadAll(f) })
			}
			b.fetch()
			w.until("all wait", func(s fs.Stats) bool {
				return s.Target.Link.InFlight > stalledReads && s.Cache.Filling.Extents == 1 && s.Cache.Leases == 2
			})

			must(t, unrelated.Close())
			t.Logf("a close took effect after %v", w.until("the unrelated lease is gone", leases(1)))
			began := time.Now()
			b.kill(unix.SIGKILL)
			t.Logf("the killed process was gone after %v", time.Since(began))
			t.Logf("and its leases %v later", w.until("the killed process's lease is gone", leases(0)))
			if took := time.Since(began); took > slack {
				t.Errorf("it took %v to get rid of a killed process", took)
			}

			thaw()
			for i, c := range reads {
				checkWhole(t, await(t, "plain read", c, ways[1].bound), 100+i, 64<<10)
			}
		})
	}
}

// openMany makes n files, which are numbered from 100 on, and opens them.
func (r *rig) openMany(n int, size int64) []*os.File {
	r.t.Helper()
	files := make([]*os.File, n)
	for i := range files {
		files[i] = mustOpen(r.t, r.write("p"+strconv.Itoa(i), 100+i, size), os.O_RDONLY)
		r.t.Cleanup(func() { files[i].Close() })
	}
	return files
}

// TestFrozenTarget: the mount can be asked and unmounted while its target does
// not answer, also after what the kernel knew of the mount's root is out of date.
func TestFrozenTarget(t *testing.T) {
	r := startRig(t)
	must(t, r.target.Process.Signal(unix.SIGSTOP))
	for began := time.Now(); time.Since(began) < 1500*time.Millisecond; {
		within(t, slack, "hbmfs stat", func() { r.stats() })
	}
	began := time.Now()
	r.checkEnds(func() {
		if out, code := hbmfs(t, "umount", r.dir); code != 0 {
			t.Errorf("hbmfs umount: status %d: %s", code, out)
		}
	})
	t.Logf("unmounted after %v", time.Since(began))
}

// TestTerminatedInFetch: a daemon that is told to end does, though a transfer is
// under way that does not.
func TestTerminatedInFetch(t *testing.T) {
	r := startRig(t)
	path := r.write("f", 1, 1<<20)
	b := startBlocker(t, r.write("held", 2, 1<<20), path)
	struck := r.proxy.inject(stall, 64<<10)
	b.fetch()
	await(t, "a transfer under way", struck, slack)
	began := time.Now()
	r.checkEnds(func() {
		must(t, r.Process.Signal(unix.SIGTERM))
		b.line("errno ")
		t.Logf("FETCH ended after %v", time.Since(began))
		b.kill(unix.SIGKILL)
	})
	t.Logf("the daemon ended after %v", time.Since(began))
}
