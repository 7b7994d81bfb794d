package integration

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// endsWithin fails the test unless the command ends within bound of sig.
func (p *process) endsWithin(bound time.Duration, sig syscall.Signal) {
	p.t.Helper()
	sent := time.Now()
	must(p.t, p.Process.Signal(sig))
	select {
	case <-p.done:
		p.t.Logf("%v ended %v after %v: %v", p.Args[1:], time.Since(sent), sig, p.err)
	case <-time.After(bound):
		p.t.Errorf("%v has not ended %v after %v", p.Args, bound, sig)
	}
	if want := 128 + int(sig); p.ProcessState != nil && p.ProcessState.ExitCode() != want {
		p.t.Errorf("%v: status %d after %v, want %d: %s", p.Args, p.ProcessState.ExitCode(), sig, want, p.output())
	}
}

// endBound is within what a command ends that is told to.
const endBound = time.Second

var endSignals = []syscall.Signal{unix.SIGINT, unix.SIGTERM}

// TestCommandsEnd: a command that waits for a mount ends when it is told to,
// whether the target does not answer, or the daemon, or one after the other, which
// no signal ends a system call of.
func TestCommandsEnd(t *testing.T) {
	stop := func(p *process) { must(p.t, p.Process.Signal(unix.SIGSTOP)) }
	states := map[string]struct{ before, after func(*rig) }{
		"target stopped": {func(r *rig) { stop(r.target) }, func(*rig) {}},
		"daemon stopped": {func(r *rig) { stop(r.process) }, func(*rig) {}},
		"daemon stopped with the request": {
			func(r *rig) { stop(r.target) },
			func(r *rig) { stop(r.process) },
		},
	}
	for name, state := range states {
		for _, sig := range endSignals {
			t.Run(name+"/"+sig.String(), func(t *testing.T) {
				r := startRig(t)
				path := r.write("f", 1, 4096)
				state.before(r)
				read := start(t, exec.Command(bin, "read", path))
				read.line("BYTES")
				time.Sleep(200 * time.Millisecond) // it waits by now
				state.after(r)
				read.endsWithin(endBound, sig)
				must(t, r.Process.Signal(unix.SIGCONT))
				must(t, r.target.Process.Signal(unix.SIGCONT))
				eventually(t, "the mount works", func() error { _, err := os.Stat(path); return err })
			})
		}
	}
}

// TestMountEnds: a mount of a target that does not answer ends when it is told to,
// and nothing is left of it.
func TestMountEnds(t *testing.T) {
	t.Cleanup(func() { removeLogs(t) })
	target, addr := startTarget(t, "127.0.0.1:0", "data="+t.TempDir())
	must(t, target.Process.Signal(unix.SIGSTOP))
	for _, flag := range []string{"--foreground", "--foreground=false"} {
		for _, sig := range endSignals {
			t.Run(flag+"/"+sig.String(), func(t *testing.T) {
				dir := t.TempDir()
				m := start(t, exec.Command(bin, "mount", flag, addr+"/data", dir))
				time.Sleep(300 * time.Millisecond) // it waits by now
				must(t, m.Process.Signal(sig))
				within(t, endBound, "mount ends", func() { <-m.done })
				if m.err == nil {
					t.Error("a mount that was broken off ended with status 0")
				}
				checkGone(t, dir)
			})
		}
	}
}

// TestServeEnds: a target with a mount ends when it is told to.
func TestServeEnds(t *testing.T) {
	for _, sig := range endSignals {
		r := startRig(t)
		checkTagged(t, fetchAll(t, r.write("f", 1, 1<<20), 0, 1<<20), 1, 1, 0)
		must(t, r.target.Process.Signal(sig))
		within(t, endBound, "serve ends", func() { <-r.target.done })
		must(t, r.target.err)
	}
}

// TestDaemonStopped: a daemon that is stopped is recognised without a call that
// waits for it, and umount frees the mount from it and has it end.
func TestDaemonStopped(t *testing.T) {
	src := t.TempDir()
	writeTagged(t, filepath.Join(src, "f"), 1, 1, 4096)
	m := startMount(t, src)
	must(t, m.Process.Signal(unix.SIGSTOP))
	eventually(t, "it is stopped", func() error {
		if s := processState(m.Process.Pid); s != "T" {
			return errors.New(s)
		}
		return nil
	})
	waiting := make(chan error, 1)
	go func() { _, err := os.ReadFile(m.path("f")); waiting <- err }()
	for _, args := range [][]string{{"stat", m.dir}, {"stat", m.path("f")}, {"mount", src, m.dir}} {
		began := time.Now()
		out, code := hbmfs(t, args...)
		if code != exitFailure || !strings.Contains(out, fmt.Sprintf("kill -CONT %d", m.Process.Pid)) || time.Since(began) > atOnce {
			t.Errorf("hbmfs %v: status %d after %v: %s", args, code, time.Since(began), out)
		}
	}
	umount(t, slack, exec.Command(bin, "umount", m.dir))
	if err := await(t, "a read under way", waiting, slack); !isGone(err) {
		t.Errorf("a read under way: %v, want ECONNABORTED or ENOTCONN", err)
	}
	within(t, slack, "the daemon ends", func() { <-m.done })
	checkGone(t, m.dir)
}

// TestKilledAlwaysFrees kills daemons with lookups under way that nobody answers,
// just when files that the kernel knows change. Each mount is free at once.
func TestKilledAlwaysFrees(t *testing.T) {
	const rounds, files, lookups = 12, 16, 8
	for round := range rounds {
		r := startRig(t)
		t.Cleanup(func() { _ = unix.Unmount(r.dir, unix.MNT_FORCE) }) // or these tests hang too
		for i := range files {
			f := mustOpen(t, r.write(fmt.Sprint(i), i, 4096), os.O_RDONLY)
			defer f.Close()
		}
		must(t, r.target.Process.Signal(unix.SIGSTOP))
		var calls sync.WaitGroup
		answers := make(chan error, lookups)
		for i := range lookups {
			calls.Go(func() { _, err := os.Lstat(r.path(fmt.Sprint("absent", i))); answers <- err })
		}
		for i := range files { // opens wait for the target's leases
			calls.Go(func() { _ = os.Truncate(filepath.Join(r.src, fmt.Sprint(i)), 1) })
		}
		time.Sleep(50 * time.Millisecond)
		must(t, r.target.Process.Signal(unix.SIGCONT))
		time.Sleep(rand.N(20 * time.Millisecond))
		must(t, r.Process.Signal(unix.SIGKILL))
		within(t, slack, fmt.Sprintf("round %d: the daemon and all calls end", round), func() { <-r.done; calls.Wait() })
		for range lookups {
			if err := <-answers; !errors.Is(err, fs.ErrNotExist) && !isGone(err) {
				t.Errorf("a lookup: %v", err)
			}
		}
		umount(t, slack, exec.Command(bin, "umount", r.dir))
		checkGone(t, r.dir)
	}
}

// TestDyingDaemon: at the very moment of a kill, mount and umount need not know
// whether the daemon has ended.
func TestDyingDaemon(t *testing.T) {
	src := t.TempDir()
	writeTagged(t, filepath.Join(src, "f"), 1, 1, 4096)
	old := startMount(t, src)
	must(t, old.Process.Signal(unix.SIGKILL))
	m := startMountAt(t, src, old.dir)
	checkTagged(t, fetchAll(t, m.path("f"), 0, 4096), 1, 1, 0)
	must(t, m.Process.Signal(unix.SIGKILL))
	umount(t, slack, exec.Command(bin, "umount", m.dir))
	checkGone(t, m.dir)
}

// TestMountInItsSource: a mount in the tree that it shows does not show itself, so
// that its daemon waits for nobody but others.
func TestMountInItsSource(t *testing.T) {
	src := t.TempDir()
	dir := filepath.Join(src, "sub", "mnt")
	must(t, os.MkdirAll(dir, 0o755))
	writeTagged(t, filepath.Join(src, "sub", "f"), 1, 1, 4096)
	m := startMountAt(t, src, dir)
	checkTagged(t, fetchAll(t, m.path("sub/f"), 0, 4096), 1, 1, 0)
	if _, err := os.Lstat(m.path("sub/mnt")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the mount in itself: %v, want ENOENT", err)
	}
	if names, err := os.ReadDir(m.path("sub")); err != nil || len(names) != 1 {
		t.Errorf("listed: %v, %v, want f alone", names, err)
	}
	m.checkEnds(func() { umount(t, slack, exec.Command(bin, "umount", dir)) })
}

// TestManyFilesOfDeadTarget: the first file waits for the target to come back; the
// others don't, and each failure names the target, and since when it is away.
func TestManyFilesOfDeadTarget(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]syscall.Signal{"killed": unix.SIGKILL, "stopped": unix.SIGSTOP} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startRig(t)
			args := []string{"read"}
			for i := range 4 {
				args = append(args, r.write(fmt.Sprint(i), i, 4096))
			}
			r.target.signalAndWait(end)
			began := time.Now()
			out, code := hbmfs(t, args...)
			if took := time.Since(began); took > ways[0].bound+2*slack {
				t.Errorf("4 files took %v", took)
			}
			if code != exitFailure || strings.Count(out, "target "+r.proxy.addr+" is unreachable since ") != 4 {
				t.Errorf("status %d: %s", code, out)
			}
			if out, code := hbmfs(t, "stat", r.dir); code != 0 || !strings.Contains(out, "unreachable since") {
				t.Errorf("hbmfs stat: status %d: %s", code, out)
			}
		})
	}
}

// signalAndWait sends a signal that ends or stops the process.
func (p *process) signalAndWait(sig syscall.Signal) {
	p.t.Helper()
	must(p.t, p.Process.Signal(sig))
	if sig == unix.SIGKILL {
		<-p.done
	}
}
