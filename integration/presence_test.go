package integration

import (
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// listenAsNobody listens on abstract sockets as another user, until the test ends.
// The thread that has nobody's credentials ends with its goroutine.
func listenAsNobody(t *testing.T, names ...string) {
	t.Helper()
	failed := make(chan error)
	go func() {
		runtime.LockOSThread()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
			failed <- errno
			return
		}
		for _, name := range names {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: name})
			if err != nil {
				failed <- err
				return
			}
			t.Cleanup(func() { l.Close() })
		}
		failed <- nil
	}()
	must(t, <-failed)
}

// TestPresenceIsTheDaemons: no other user can keep a daemon from being found, by
// names of its kind that he took before or after it.
func TestPresenceIsTheDaemons(t *testing.T) {
	m := startMount(t, t.TempDir())
	var st unix.Stat_t
	must(t, unix.Stat(m.dir, &st))
	dev := fmt.Sprintf("@hbmfs/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	names := []string{dev, dev + "/", dev + "/~", dev + "/\n", dev + "/0"}
	for i := range 1000 {
		names = append(names, fmt.Sprint(dev, "/~", i))
	}
	listenAsNobody(t, names...)
	must(t, m.Process.Signal(unix.SIGSTOP))
	out, code := hbmfs(t, "stat", m.dir)
	if code != exitFailure || !strings.Contains(out, fmt.Sprintf("kill -CONT %d", m.Process.Pid)) {
		t.Errorf("hbmfs stat: status %d: %s", code, out)
	}
	umount(t, slack, exec.Command(bin, "umount", m.dir))
	within(t, slack, "the daemon ends", func() { <-m.done })
	checkGone(t, m.dir)
}

// TestUmountFindsNobody: umount says that it does not wait.
func TestUmountFindsNobody(t *testing.T) {
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		unsupported(t, "another network name space needs unshare: "+err.Error())
	}
	m := startMount(t, t.TempDir())
	out, code := exitOf(t, exec.Command(unshare, "-n", bin, "umount", m.dir))
	if code != 0 || !strings.Contains(out, "was not found to wait for") {
		t.Errorf("status %d: %s", code, out)
	}
	within(t, slack, "the daemon ends", func() { <-m.done })
	if out, code := hbmfs(t, "umount", startMount(t, t.TempDir()).dir); code != 0 || out != "" {
		t.Errorf("status %d: %s", code, out)
	}
}
