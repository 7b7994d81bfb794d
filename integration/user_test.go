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

	"golang.org/x/sys/unix"
)

func init() {
	acts["write-access"] = func(path string) error { return unix.Access(path, unix.W_OK) }
	acts["create"] = func(path string) error { return second(os.Create(path)) }
}

// userMount is a background mount of nobody's, and where its user keeps things.
type userMount struct {
	dir, state, tmp string
	t               *testing.T
}

// mountAsNobody mounts source as nobody, by fusermount3.
func mountAsNobody(t *testing.T, source string, flags ...string) userMount {
	t.Helper()
	if _, err := exec.LookPath("fusermount3"); err != nil {
		unsupported(t, "users' mounts need fusermount3: "+err.Error())
	}
	base := t.TempDir()
	m := userMount{filepath.Join(base, "mnt"), filepath.Join(base, "state"), filepath.Join(base, "tmp"), t}
	for _, dir := range []string{m.dir, m.state, m.tmp} {
		must(t, os.Mkdir(dir, 0o755))
		must(t, os.Chown(dir, nobody, nobody))
	}
	openPath(t, base)
	args := append(append([]string{bin, "mount"}, flags...), source, m.dir)
	if out, code := m.run(args...); code != 0 {
		t.Fatalf("%v: status %d: %s", args, code, out)
	}
	t.Cleanup(func() { _ = unix.Unmount(m.dir, unix.MNT_DETACH) }) // if still there
	return m
}

// run runs a command as nobody.
func (m userMount) run(args ...string) (out string, code int) {
	m.t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env = "/", append(os.Environ(), "XDG_STATE_HOME="+m.state, "TMPDIR="+m.tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return exitOf(m.t, cmd)
}

func (m userMount) path(name string) string { return filepath.Join(m.dir, name) }

// TestUsersMount: the mount of a user says that it is read-only as root's does,
// fetches, and ends by whichever command, with nothing left.
func TestUsersMount(t *testing.T) {
	src := t.TempDir()
	openPath(t, src)
	writeNumbered(t, src, 1, 3*extent+7)
	must(t, os.Chmod(filepath.Join(src, "1"), 0o666))
	for _, umount := range [][]string{{bin, "umount"}, {"umount"}, {"fusermount3", "-u"}} {
		t.Run(filepath.Base(umount[0]), func(t *testing.T) {
			m := mountAsNobody(t, src)
			if options := optionsOf(t, m.dir); !strings.HasPrefix(options, "ro,nosuid,nodev") {
				t.Errorf("/proc/mounts says %s", options)
			}
			attempt(t, nobody, "read ok "+m.path("1"), "fetch ok "+m.path("1"), "connect ok "+m.path(".hbmfs/ctl"),
				"write-access EROFS "+m.path("1"), "write-access EROFS "+m.dir,
				"create EROFS "+m.path("2"), "create EROFS "+m.path(".hbmfs/x"), "bind EROFS "+m.path(".hbmfs/x"))
			if out, code := m.run(append(umount, m.dir)...); code != 0 {
				t.Errorf("%v: status %d: %s", umount, code, out)
			}
			checkGone(t, m.dir)
			checkEmpty(t, m.tmp)
		})
	}
}

// TestUsersMountEnds: what a user's mount has outside of it goes also when root
// unmounts it lazily while it is in use, or its daemon is told to end.
func TestUsersMountEnds(t *testing.T) {
	src := t.TempDir()
	openPath(t, src)
	writeNumbered(t, src, 1, extent)
	for name, end := range map[string]func(m userMount){
		"lazily":  func(m userMount) { must(t, unix.Unmount(m.dir, unix.MNT_DETACH)) },
		"SIGTERM": func(m userMount) { killProcesses(t, m.dir, unix.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			m := mountAsNobody(t, src)
			end(m)
			eventually(t, "the mount is gone", func() error {
				if isMounted(t, m.dir) {
					return errors.New("it is still there")
				}
				return nil
			})
			checkGone(t, m.dir)
			checkEmpty(t, m.tmp)
		})
	}
}

// TestUsersMountKilled: what a killed daemon of a user's mount had outside of it
// goes with the mount, whoever takes that away.
func TestUsersMountKilled(t *testing.T) {
	src := t.TempDir()
	openPath(t, src)
	for who, run := range map[string]func(m userMount, args ...string) (string, int){
		"user": userMount.run,
		"root": func(m userMount, args ...string) (string, int) {
			return exitOf(t, exec.Command("env", append([]string{"TMPDIR=" + m.tmp}, args...)...))
		},
	} {
		t.Run(who, func(t *testing.T) {
			m := mountAsNobody(t, src)
			killProcesses(t, m.dir, unix.SIGKILL)
			if left, err := os.ReadDir(m.tmp); err != nil || len(left) != 1 {
				t.Fatalf("left by kill -9: %v, %v", left, err)
			}
			if out, code := run(m, bin, "umount", m.dir); code != 0 || out != "" {
				t.Errorf("status %d: %s", code, out)
			}
			if left, err := os.ReadDir(m.tmp); err != nil || len(left) != 0 {
				t.Errorf("left by umount: %v, %v", left, err)
			}
			checkGone(t, m.dir)
		})
	}
}

// killProcesses sends sig to the processes of a mount.
func killProcesses(t *testing.T, dir string, sig syscall.Signal) {
	t.Helper()
	for _, p := range processesOf(dir) {
		dir, _, _ := strings.Cut(p, ":")
		var pid int
		_ = second(fmt.Sscanf(filepath.Base(dir), "%d", &pid))
		must(t, unix.Kill(pid, sig))
	}
}

// optionsOf is what /proc/mounts says of the mount at dir.
func optionsOf(t *testing.T, dir string) string {
	t.Helper()
	for line := range strings.Lines(string(mustRead(t, "/proc/mounts"))) {
		if f := strings.Fields(line); f[1] == dir {
			return f[3]
		}
	}
	t.Fatalf("%s is not in /proc/mounts", dir)
	return ""
}

func checkEmpty(t *testing.T, dir string) {
	t.Helper()
	eventually(t, dir+" is empty", func() error {
		left, err := os.ReadDir(dir)
		if len(left) > 0 {
			err = errors.Join(err, fmt.Errorf("it has %v", left))
		}
		return err
	})
}
