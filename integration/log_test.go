package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestLogElsewhere: a log that can't be where it usually is keeps nobody from
// mounting, and the command says where it is.
func TestLogElsewhere(t *testing.T) {
	const readOnlyLogs = `mount --bind /var/log /var/log; mount -o remount,ro,bind /var/log; `
	top := t.TempDir()
	src, dir, state := filepath.Join(top, "src"), filepath.Join(top, "mnt"), filepath.Join(top, "state")
	for _, d := range []string{src, dir, state} {
		must(t, os.Mkdir(d, 0o755))
		must(t, os.Chown(d, nobody, nobody))
	}
	openPath(t, top)
	writeNumbered(t, src, 1, extent)
	asNobody := []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}
	for name, c := range map[string]struct {
		as     []string // who runs
		before string   // what comes first
		state  string   // XDG_STATE_HOME
		flags  string
		log    string // where it is; "" for none
		says   string // what the command says
	}{
		"usual":                  {nil, "", state, "", "/var/log/hbmfs-*TestLogElsewhere*mnt.log", ""},
		"usual for others":       {asNobody, "", state, "", state + "/hbmfs/*mnt.log", ""},
		"read-only /var/log":     {nil, readOnlyLogs, state, "", state + "/hbmfs/*mnt.log", "the log is " + state + "/hbmfs/"},
		"root of a name space":   {append(asNobody, "unshare", "-Ur"), "", state, "", state + "/hbmfs/*mnt.log", "the log is " + state + "/hbmfs/"},
		"nowhere":                {nil, readOnlyLogs, "/proc/none", "", "", "log is"}, // perhaps in the journal
		"nowhere for others":     {asNobody, "", "/proc/none", "", "", "log is"},
		"where it is wanted":     {nil, "", state, "--log " + top + "/my.log", top + "/my.log", ""},
		"beside the working dir": {nil, "cd " + top + "; ", state, "--log here.log", top + "/here.log", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if may := append(slices.Clone(c.as), "true"); c.as != nil {
				if out, code := exitOf(t, exec.Command(may[0], may[1:]...)); code != 0 {
					unsupported(t, "name spaces of users: "+out)
				}
			}
			if len(c.as) == len(asNobody) {
				usersMount(t)
			}
			must(t, os.RemoveAll(filepath.Join(state, "hbmfs"))) // another user's
			script := c.before + `"$BIN" mount ` + c.flags + ` "$SRC" "$DIR" || exit; cmp "$SRC/1" "$DIR/1" && "$BIN" umount "$DIR"`
			args := append(slices.Clone(c.as), "sh", "-c", script)
			if len(c.as) != len(asNobody) { // who may not have a mount name space, and needs none
				args = append(append(slices.Clone(c.as), "unshare", "-m"), args[len(c.as):]...)
			}
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Env = append(os.Environ(), "BIN="+bin, "SRC="+src, "DIR="+dir, "XDG_STATE_HOME="+c.state)
			out, code := exitOf(t, cmd)
			if code != 0 || !strings.Contains(out, c.says) || c.says == "" && out != "" {
				t.Errorf("status %d, want 0 and %q: %s", code, c.says, out)
			}
			checkGone(t, dir)
			if c.log == "" {
				return
			}
			logs, err := filepath.Glob(c.log)
			if err != nil || len(logs) != 1 || !strings.Contains(string(mustRead(t, logs[0])), "msg=mounted") {
				t.Fatalf("%v, %v: want one log that tells of the mount at %s", logs, err, c.log)
			}
			must(t, os.Remove(logs[0]))
		})
	}
}

// TestLogRefused: a log that was asked for is one that can be written.
func TestLogRefused(t *testing.T) {
	src, dir := t.TempDir(), t.TempDir()
	for _, flag := range []string{"--foreground=false", "--foreground"} {
		checkRefused(t, exec.Command(bin, "mount", flag, "--log", "/proc/none/log", src, dir), exitFailure, "--log", "/proc/none/log")
	}
}

// TestLogInForeground: standard output has what it says, the file the log.
func TestLogInForeground(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	m := startMount(t, t.TempDir(), "--log", log)
	if text := string(mustRead(t, log)); !strings.Contains(text, "msg=mounted") || strings.Contains(m.output(), "msg=mounted") {
		t.Errorf("the log has %q, standard error %q", text, m.output())
	}
}
