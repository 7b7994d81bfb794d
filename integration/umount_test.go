package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// atOnce is what a command may take that has nothing to wait for.
const atOnce = 2 * time.Second

// umount unmounts dir by a command that run has prepared, and fails the test if
// that fails or takes longer than bound.
func umount(t *testing.T, bound time.Duration, cmd *exec.Cmd) {
	t.Helper()
	began := time.Now()
	if out, code := exitOf(t, cmd); code != 0 || out != "" {
		t.Errorf("%v: status %d: %s", cmd.Args, code, out)
	}
	if took := time.Since(began); took > bound {
		t.Errorf("%v took %v, want %v at most", cmd.Args, took, bound)
	}
}

// TestUmountOfBind: of two places that show the same file system, one goes at
// once, and the other stays as it is with its daemon.
func TestUmountOfBind(t *testing.T) {
	src, bind := t.TempDir(), t.TempDir()
	must(t, os.Mkdir(filepath.Join(src, "sub"), 0o755))
	writeTagged(t, filepath.Join(src, "sub", "f"), 1, 1, 4096)
	m := startMount(t, src)
	must(t, unix.Mount(m.path("sub"), bind, "", unix.MS_BIND, ""))
	t.Cleanup(func() { _ = unix.Unmount(bind, unix.MNT_DETACH) }) // if still there
	checkTagged(t, fetchAll(t, m.path("sub/f"), 0, 4096), 1, 1, 0)
	umount(t, atOnce, exec.Command(bin, "umount", bind))
	if isMounted(t, bind) || !isMounted(t, m.dir) {
		t.Fatalf("the bind is mounted: %t, the mount: %t", isMounted(t, bind), isMounted(t, m.dir))
	}
	checkTagged(t, fetchAll(t, m.path("sub/f"), 0, 4096), 1, 1, 0)
	m.checkEnds(func() { umount(t, slack, exec.Command(bin, "umount", m.dir)) })
}

// elsewhere runs a shell script in a mount name space of its own.
func elsewhere(script string, args ...string) *exec.Cmd {
	cmd := exec.Command("sh", append([]string{"-c", script, "sh"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	return cmd
}

// TestUmountElsewhere: a copy of a mount in another mount name space can be
// unmounted there; and where the last one is, the daemon goes on until that is gone.
func TestUmountElsewhere(t *testing.T) {
	src := t.TempDir()
	writeTagged(t, filepath.Join(src, "f"), 1, 1, 4096)
	m := startMount(t, src)
	umount(t, atOnce, elsewhere(`mount --make-rprivate / && exec "$@"`, bin, "umount", m.dir))
	checkTagged(t, fetchAll(t, m.path("f"), 0, 4096), 1, 1, 0)

	holder := start(t, elsewhere(`mount --make-rprivate / && echo ready && exec sleep 60`))
	holder.line("ready")
	umount(t, slack, exec.Command(bin, "umount", m.dir))
	select {
	case <-m.done:
		t.Error("the daemon ended while its file system was mounted in another name space")
	default:
	}
	m.checkEnds(func() { holder.kill(unix.SIGKILL) })
}

// usersMount skips where users can't mount.
func usersMount(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("fusermount3"); err != nil {
		unsupported(t, "users can't mount: "+err.Error())
	}
}

// asNobody makes cmd one of an ordinary user, who may mount where fusermount3 is.
func asNobody(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	usersMount(t)
	home := t.TempDir()
	openPath(t, home)
	must(t, os.Chown(home, nobody, nobody))
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_STATE_HOME="+home)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return cmd
}

// startUserMount has an ordinary user mount src.
func startUserMount(t *testing.T, src string) *mount {
	t.Helper()
	openPath(t, src)
	dir := filepath.Join(t.TempDir(), "mnt")
	must(t, os.Mkdir(dir, 0o755))
	openPath(t, dir)
	must(t, os.Chown(dir, nobody, nobody))
	p := start(t, asNobody(t, exec.Command(bin, "mount", "--foreground", src, dir)))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // if still there
	p.line("mounted ")
	return &mount{process: p, dir: dir}
}

// TestUmountOfUser: a user's mount, whose control socket keeps it busy, is
// unmounted by himself and by root, whatever its daemon does.
func TestUmountOfUser(t *testing.T) {
	src := t.TempDir()
	writeTagged(t, filepath.Join(src, "f"), 1, 1, 4096)
	for who, as := range map[string]func(*testing.T, *exec.Cmd) *exec.Cmd{
		"root": func(_ *testing.T, cmd *exec.Cmd) *exec.Cmd { return cmd },
		"user": asNobody,
	} {
		for state, sig := range map[string]syscall.Signal{"runs": 0, "stopped": unix.SIGSTOP, "killed": unix.SIGKILL} {
			t.Run(who+"/"+state, func(t *testing.T) {
				m := startUserMount(t, src)
				must(t, m.Process.Signal(sig))
				umount(t, slack, as(t, exec.Command(bin, "umount", m.dir)))
				within(t, slack, "the daemon ends", func() { <-m.done })
				checkGone(t, m.dir)
			})
		}
	}
}

// TestUmountWaits: umount returns when the daemon has ended, and what it held is
// given back; here it takes leave of a target that does not answer.
func TestUmountWaits(t *testing.T) {
	r := startRig(t)
	pid := r.stats().PID
	must(t, r.target.Process.Signal(unix.SIGSTOP))
	umount(t, 2*slack, exec.Command(bin, "umount", r.dir))
	if state := processState(pid); state != "" && state != "Z" {
		t.Errorf("the daemon is in state %q after umount", state)
	}
}

// processState is the state of a process in proc_pid_stat(5); empty if there is
// none.
func processState(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	_, after, _ := strings.Cut(string(b), ") ")
	state, _, _ := strings.Cut(after, " ")
	return state
}
