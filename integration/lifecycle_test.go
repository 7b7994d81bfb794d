package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
)

// Exit codes, as `hbmfs --help` lists them.
const (
	exitFailure   = 1
	exitUsage     = 2
	exitTransport = 4
	exitNotMount  = 5
	exitBusy      = 6
)

// hbmfs runs the program and returns what it wrote, and its exit code.
func hbmfs(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	return exitOf(t, exec.Command(bin, args...))
}

func exitOf(t *testing.T, cmd *exec.Cmd) (out string, code int) {
	t.Helper()
	b, err := cmd.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	return string(b), cmd.ProcessState.ExitCode()
}

func isMounted(t *testing.T, dir string) bool {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	return bytes.Contains(table, []byte(" "+dir+" "))
}

// processesOf returns those whose command line names dir.
func processesOf(dir string) (found []string) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, []byte(dir)) {
			found = append(found, filepath.Dir(path)+": "+string(bytes.ReplaceAll(b, []byte{0}, []byte{' '})))
		}
	}
	return found
}

// checkEnds fails the test unless end makes the mount's daemon end with status
// 0, and nothing of it is left.
func (m *mount) checkEnds(end func()) {
	m.t.Helper()
	end()
	within(m.t, 2*slack, "the daemon ends", func() { <-m.done })
	if m.err != nil {
		m.t.Errorf("the daemon ended with %v, want status 0", m.err)
	}
	checkGone(m.t, m.dir)
}

func checkGone(t *testing.T, dir string) {
	t.Helper()
	if isMounted(t, dir) {
		t.Errorf("%s is still mounted", dir)
	}
	eventually(t, "no process is left", func() error {
		if left := processesOf(dir); len(left) > 0 {
			return errors.New(strings.Join(left, ", "))
		}
		return nil
	})
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("the mount point holds %v (%v), want nothing", left, err)
	}
}

// isGone reports whether err is what a mount without a daemon answers.
func isGone(err error) bool {
	return errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED)
}

// TestDaemonKilled: calls under way and later ones fail at once, and a mount or
// an umount of the same place cleans up.
func TestDaemonKilled(t *testing.T) {
	const size = 1 << 20
	r := startRig(t)
	b := startBlocker(t, r.write("held", 1, size), r.write("f", 2, size))
	old := mustOpen(t, r.path("f"), os.O_RDONLY)
	defer old.Close()
	struck := r.proxy.inject(stall, 64<<10)
	b.fetch()
	await(t, "a transfer under way", struck, slack)
	began := time.Now()
	r.kill(unix.SIGKILL)
	answer := b.line("errno ")
	t.Logf("%q %v after the kill", answer, time.Since(began))
	if answer != fmt.Sprintf("errno %d", unix.ECONNABORTED) && answer != fmt.Sprintf("errno %d", unix.ENOTCONN) {
		t.Errorf("FETCH under way: %s, want ECONNABORTED or ENOTCONN", answer)
	}
	if _, err := os.ReadDir(r.dir); !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("listing the dead mount: %v, want ENOTCONN", err)
	}
	r.proxy.heal()

	again := startMountAt(t, r.proxy.addr+"/data", r.dir)
	checkTagged(t, fetchAll(t, again.path("f"), 0, size), 2, 1, 0)
	if _, err := old.ReadAt(make([]byte, 1), 0); !isGone(err) {
		t.Errorf("read from a file of the dead mount: %v, want ENOTCONN", err)
	}
	b.kill(unix.SIGKILL)

	again.kill(unix.SIGKILL)
	if out, code := hbmfs(t, "umount", r.dir); code != 0 {
		t.Errorf("hbmfs umount of a dead mount: status %d: %s", code, out)
	}
	checkGone(t, r.dir)
	if out, code := hbmfs(t, "umount", r.dir); code != exitNotMount {
		t.Errorf("hbmfs umount of no mount: status %d, want %d: %s", code, exitNotMount, out)
	}
}

// TestUnmountWithSocketInUse: a client of the control socket does not keep the
// mount, and neither side keeps anything of it.
func TestUnmountWithSocketInUse(t *testing.T) {
	for name, command := range map[string][]string{
		"umount(8)":    {"umount"},
		"hbmfs umount": {bin, "umount"},
	} {
		t.Run(name, func(t *testing.T) {
			src := t.TempDir()
			writeTagged(t, filepath.Join(src, "f"), 1, 1, 1<<20)
			target, addr := startTarget(t, "127.0.0.1:0", "data="+src)
			before := target.descriptors()
			m := startMount(t, addr+"/data")
			m.watch()
			checkTagged(t, fetchAll(t, m.path("f"), 0, 1<<20), 1, 1, 0)
			m.checkEnds(func() {
				if out, code := exitOf(t, exec.Command(command[0], append(command[1:], m.dir)...)); code != 0 {
					t.Fatalf("status %d: %s", code, out)
				}
			})
			eventually(t, "the target has nothing open of it", func() error {
				if after := target.descriptors(); len(after) > len(before) {
					return fmt.Errorf("before: %v, after: %v", before, after)
				}
				return nil
			})
		})
	}
}

// descriptors lists what the process has open.
func (p *process) descriptors() (open []string) {
	dir := fmt.Sprintf("/proc/%d/fd", p.Process.Pid)
	fds, err := os.ReadDir(dir)
	must(p.t, err)
	for _, fd := range fds {
		if to, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil {
			open = append(open, to)
		}
	}
	return open
}

// TestUnmountNoticed: a daemon notices that its mount is gone also if another
// mount takes its id at once, and many others come and go.
func TestUnmountNoticed(t *testing.T) {
	src, other := t.TempDir(), t.TempDir()
	for range 8 {
		m := startMount(t, src)
		m.checkEnds(func() {
			eventually(t, "umount", func() error { return unix.Unmount(m.dir, 0) })
			must(t, unix.Mount("other", other, "tmpfs", 0, ""))
			t.Cleanup(func() { must(t, unix.Unmount(other, 0)) })
		})
	}
}

// TestBusyMount: a mount in use stays, is fully usable, and whoever wants to
// unmount it is told by whom.
func TestBusyMount(t *testing.T) {
	const size = 1 << 20
	src := t.TempDir()
	writeTagged(t, filepath.Join(src, "f"), 1, 1, size)
	m := startMount(t, src)
	checkBusy := func(user int) {
		t.Helper()
		out, code := hbmfs(t, "umount", m.dir)
		if code != exitBusy || !strings.Contains(out, fmt.Sprintf("(pid %d)", user)) {
			t.Errorf("hbmfs umount of a mount that process %d uses: status %d, want %d: %s", user, code, exitBusy, out)
		}
		checkTagged(t, fetchAll(t, m.path("f"), 0, size), 1, 1, 0)
		b, err := os.ReadFile(m.path("f"))
		checkWhole(t, outcome{bytes: b, err: err}, 1, size)
	}
	f := mustOpen(t, m.path("f"), os.O_RDONLY)
	checkBusy(os.Getpid())
	must(t, f.Close())

	inside := exec.Command("sleep", "60")
	inside.Dir = m.dir
	sleeper := start(t, inside)
	checkBusy(inside.Process.Pid)
	sleeper.kill(unix.SIGKILL)

	m.checkEnds(func() {
		if out, code := hbmfs(t, "umount", m.dir); code != 0 {
			t.Errorf("hbmfs umount of a mount that was busy: status %d: %s", code, out)
		}
	})
}

// TestDaemonSignals: a daemon that is told to end finishes, also while the mount
// is in use.
func TestDaemonSignals(t *testing.T) {
	src := t.TempDir()
	writeTagged(t, filepath.Join(src, "f"), 1, 1, 1<<20)
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGINT} {
		for _, busy := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v, busy %t", sig, busy), func(t *testing.T) {
				m := startMount(t, src)
				m.watch()
				f, err := client.Open(m.path("f"))
				must(t, err)
				defer f.Close()
				if !busy {
					must(t, f.Close())
				}
				m.checkEnds(func() { must(t, m.Process.Signal(sig)) })
				if _, err := f.ReleaseAll(); busy && !isGone(err) {
					t.Errorf("RELEASE after the end: %v, want ENOTCONN", err)
				}
			})
		}
	}
}

// background mounts in the background, by a command that run gets, and unmounts
// when the test ends.
func background(t *testing.T, source string, run func(*exec.Cmd)) *mount {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "mnt")
	must(t, os.Mkdir(dir, 0o755))
	log := logOf(dir) + ".log"
	t.Cleanup(func() {
		if isMounted(t, dir) {
			if out, code := hbmfs(t, "umount", dir); code != 0 {
				t.Errorf("hbmfs umount: status %d: %s", code, out)
			}
		}
		checkGone(t, dir)
		text, err := os.ReadFile(log)
		if !bytes.Contains(text, []byte("msg=mounted")) {
			t.Errorf("the log %s does not tell of the mount (%v): %s", log, err, text)
		}
		must(t, os.Remove(log))
	})
	run(exec.Command(bin, "mount", source, dir))
	return &mount{process: &process{t: t}, dir: dir}
}

// logOf is the log of a background mount of root's, without its ending.
func logOf(dir string) string {
	return "/var/log/hbmfs-" + strings.ReplaceAll(strings.Trim(dir, "/"), "/", "-")
}

// removeLogs removes what background mounts in directories of this test logged.
func removeLogs(t *testing.T) {
	t.Helper()
	test, _, _ := strings.Cut(t.Name(), "/")
	logs, err := filepath.Glob(logOf(filepath.Join(os.TempDir(), test)) + "*")
	must(t, err)
	for _, log := range logs {
		must(t, os.Remove(log))
	}
}

// TestBackground: the command returns when the mount answers.
func TestBackground(t *testing.T) {
	src := t.TempDir()
	writeTagged(t, filepath.Join(src, "f"), 1, 1, 1<<20)
	m := background(t, src, func(cmd *exec.Cmd) {
		if out, code := exitOf(t, cmd); code != 0 || out != "" {
			t.Fatalf("status %d: %s", code, out)
		}
	})
	checkTagged(t, fetchAll(t, m.path("f"), 0, 1<<20), 1, 1, 0)
}

// TestBackgroundSurvivesTerminal: the terminal that the command was given at
// goes away, with all that hangs on it.
func TestBackgroundSurvivesTerminal(t *testing.T) {
	src := t.TempDir()
	writeTagged(t, filepath.Join(src, "f"), 1, 1, 1<<20)
	var session int
	m := background(t, src, func(cmd *exec.Cmd) {
		terminal, mine := openTerminal(t)
		// A shell leads the session, as at any terminal, and stays.
		shell := exec.Command("sh", "-c", `"$@" && echo done; read line`, "sh")
		shell.Args = append(shell.Args, cmd.Args...)
		shell.Stdin, shell.Stdout, shell.Stderr = mine, mine, mine
		shell.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		must(t, shell.Start())
		must(t, mine.Close())
		session = shell.Process.Pid
		out := make([]byte, 4096)
		n, err := terminal.Read(out)
		if must(t, err); !bytes.Contains(out[:n], []byte("done")) {
			t.Errorf("mount at a terminal: %s", out[:n])
		}
		must(t, terminal.Close()) // hangs up
		if err := shell.Wait(); err == nil {
			t.Error("the shell survived its terminal")
		}
	})
	if err := unix.Kill(-session, unix.SIGHUP); !errors.Is(err, unix.ESRCH) {
		t.Errorf("something is left in the terminal's session: %v", err)
	}
	checkTagged(t, fetchAll(t, m.path("f"), 0, 1<<20), 1, 1, 0)
}

// openTerminal returns both ends of a new pseudo-terminal.
func openTerminal(t *testing.T) (terminal, inside *os.File) {
	t.Helper()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	must(t, unix.IoctlSetPointerInt(int(terminal.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPTN)
	must(t, err)
	inside, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	return terminal, inside
}

// TestMountRefused: what can't be mounted is an error with a reason, of the
// command itself, also in the background. Nothing is left of it.
func TestMountRefused(t *testing.T) {
	src := t.TempDir()
	writeTagged(t, filepath.Join(src, "f"), 1, 1, 4096)
	_, addr := startTarget(t, "127.0.0.1:0", "data="+src)
	empty, mounted := t.TempDir(), startMount(t, src)
	reserved := t.TempDir()
	must(t, os.Mkdir(filepath.Join(reserved, ".hbmfs"), 0o755))
	for name, c := range map[string]struct {
		args  []string
		code  int
		words []string
	}{
		"nobody listens":      {[]string{"127.0.0.1:1/data", empty}, exitFailure, []string{"127.0.0.1:1", "refused"}},
		"unknown dataset":     {[]string{addr + "/other", empty}, exitFailure, []string{"other"}},
		"no source":           {[]string{"/nonexistent/source", empty}, exitFailure, []string{"/nonexistent/source"}},
		"not a source":        {[]string{"neither-host-nor-path", empty}, exitUsage, []string{"HOST:PORT"}},
		"no mount point":      {[]string{src, filepath.Join(empty, "none")}, exitFailure, []string{"none", "no such file"}},
		"a file":              {[]string{addr, filepath.Join(src, "f")}, exitFailure, []string{"not a directory"}},
		"not empty":           {[]string{addr, src}, exitFailure, []string{"not empty"}},
		"mounted already":     {[]string{src, mounted.dir}, exitFailure, []string{"mounted already", "hbmfs umount"}},
		"no direct transport": {[]string{"--require-direct", addr + "/data", empty}, exitTransport, []string{"rdma", "devmem-tcp", "tcp", "inproc"}},
		"embedded, the same":  {[]string{"--require-direct", src, empty}, exitTransport, []string{"rdma", "devmem-tcp", "tcp", "inproc"}},
		"no such device":      {[]string{"--device", "abacus", src, empty}, exitUsage, []string{"abacus"}},
		"a name of ours":      {[]string{reserved, empty}, exitFailure, []string{".hbmfs"}},
	} {
		t.Run(name, func(t *testing.T) {
			checkRefused(t, exec.Command(bin, append([]string{"mount"}, c.args...)...), c.code, c.words...)
			checkRefused(t, exec.Command(bin, append([]string{"mount", "--foreground"}, c.args...)...), c.code, c.words...)
			checkGone(t, empty)
		})
	}
	t.Run("no permission", func(t *testing.T) {
		const nobody = 65534
		state := t.TempDir()
		openPath(t, state)
		openPath(t, empty)
		must(t, os.Chown(state, nobody, nobody))
		cmd := exec.Command(bin, "mount", addr+"/data", empty)
		cmd.Dir, cmd.Env = "/", append(os.Environ(), "XDG_STATE_HOME="+state)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		checkRefused(t, cmd, exitFailure, "fusermount3")
		checkGone(t, empty)
	})
	checkTagged(t, fetchAll(t, mounted.path("f"), 0, 4096), 1, 1, 0)
}

// checkRefused fails the test unless the command ends with code, soon, and with
// an error that has all the words.
func checkRefused(t *testing.T, cmd *exec.Cmd, code int, words ...string) {
	t.Helper()
	began := time.Now()
	out, got := exitOf(t, cmd)
	removeLogs(t)
	if got != code || !strings.Contains("\n"+out, "\nhbmfs: ") {
		t.Errorf("%v: status %d, want %d: %s", cmd.Args, got, code, out)
	}
	for _, word := range words {
		if !strings.Contains(out, word) {
			t.Errorf("%v: %q does not name %q", cmd.Args, out, word)
		}
	}
	if took := time.Since(began); took > slack {
		t.Errorf("%v: refused after %v", cmd.Args, took)
	}
	t.Log(strings.TrimSpace(out))
}

// TestServeRefused: a target that can't serve, or must not, says why.
func TestServeRefused(t *testing.T) {
	src := t.TempDir()
	busy := startProxy(t, "127.0.0.1:1")
	for name, c := range map[string]struct {
		args  []string
		code  int
		words []string
	}{
		"no dataset":      {nil, exitUsage, []string{"NAME=PATH"}},
		"no name":         {[]string{src}, exitUsage, []string{"NAME=PATH"}},
		"no such path":    {[]string{"data=/nonexistent/data"}, exitFailure, []string{"data", "/nonexistent", "no such file"}},
		"twice the name":  {[]string{"data=" + src, "data=" + src}, exitUsage, []string{"data", "twice"}},
		"beyond loopback": {[]string{"--listen", "0.0.0.0:0", "data=" + src}, exitFailure, []string{"TLS", "--tls-cert", "--insecure"}},
		"and every IPv6":  {[]string{"--listen", "[::]:0", "data=" + src}, exitFailure, []string{"TLS", "--tls-cert", "--insecure"}},
		"a port in use":   {[]string{"--listen", busy.addr, "data=" + src}, exitFailure, []string{"in use", "--listen"}},
	} {
		t.Run(name, func(t *testing.T) {
			checkRefused(t, exec.Command(bin, append([]string{"serve"}, c.args...)...), c.code, c.words...)
		})
	}
}

// TestServeInsecure: with --insecure, a target listens on every address.
func TestServeInsecure(t *testing.T) {
	src := t.TempDir()
	writeTagged(t, filepath.Join(src, "f"), 1, 1, 4096)
	p := start(t, exec.Command(bin, "serve", "--insecure", "--listen", "0.0.0.0:0", "data="+src))
	line := p.line("serving ")
	m := startMount(t, "127.0.0.1"+line[strings.LastIndex(line, ":"):]+"/data")
	f := mustOpen(t, m.path("f"), os.O_RDONLY)
	defer f.Close()
	b, err := io.ReadAll(f)
	checkWhole(t, outcome{bytes: b, err: err}, 1, 4096)
}
