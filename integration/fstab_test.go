package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// helpers prepends, to a shell script for a mount name space of its own, what
// mount(8) needs to find the program in /sbin: as the helper of the type hbmfs,
// and for mount.fuse3. The script finds SRC, DIR and FSTAB in its environment.
const helpers = `set -e
trap 'umount -l "$DIR" 2>/dev/null || true' EXIT
mkdir "$TOP/sbin"; ln -s "$BIN" "$TOP/sbin/hbmfs"; ln -s "$BIN" "$TOP/sbin/mount.hbmfs"
sbin=$(readlink -f /sbin)
mount -t overlay overlay -o "lowerdir=$TOP/sbin:$sbin" "$sbin"
mount --bind "$FSTAB" /etc/fstab
check() { grep -q " $DIR fuse.hbmfs ro,nosuid,nodev" /proc/mounts; cmp "$SRC/1" "$DIR/1"; hbmfs read --verify "$DIR/1" >/dev/null; }
`

// fstab runs a script in a mount name space whose fstab has one line, for a
// directory of files to be mounted with the type and the options. What the script
// uses is gone when it ends.
func fstab(t *testing.T, fsType, options, script string) (out string, code int) {
	t.Helper()
	for _, tool := range []string{"/sbin/mount.fuse3", "/bin/mount", "/usr/bin/unshare", "/usr/bin/setpriv"} {
		if _, err := os.Stat(tool); err != nil {
			unsupported(t, "mount(8) and its helpers are needed: "+err.Error())
		}
	}
	// A comma in its name would end the option that has it.
	top, err := os.MkdirTemp("", "hbmfs-fstab-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(top) })
	openPath(t, top)
	src, dir, table := filepath.Join(top, "src"), filepath.Join(top, "mnt"), filepath.Join(top, "fstab")
	must(t, os.Mkdir(src, 0o755))
	must(t, os.Mkdir(dir, 0o755))
	must(t, os.Chown(dir, nobody, nobody))
	writeNumbered(t, src, 1, 2*extent+5)
	must(t, os.WriteFile(table, fmt.Appendf(nil, "%s %s %s %s 0 0\n", src, dir, fsType, options), 0o644))
	cmd := exec.Command("unshare", "-m", "sh", "-c", helpers+script)
	cmd.Env = append(os.Environ(), "TOP="+top, "BIN="+bin, "SRC="+src, "DIR="+dir, "FSTAB="+table)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, code = exitOf(t, cmd)
	logs, err := filepath.Glob("/var/log/hbmfs-*hbmfs*fstab*")
	must(t, err)
	for _, log := range logs {
		must(t, os.Remove(log))
	}
	checkGone(t, dir)
	return out, code
}

// TestFstab: what mount(8) gives a helper, by each of its two ways.
func TestFstab(t *testing.T) {
	for name, c := range map[string]struct{ fsType, options, script string }{
		"a line":       {"hbmfs", "defaults", `mount "$DIR"; check; umount "$DIR"`},
		"a fuse line":  {"fuse.hbmfs", "ro,_netdev,nofail", `mount "$DIR"; check; umount "$DIR"`},
		"all":          {"hbmfs", "x-systemd.automount,_netdev", `mount -a; check; mount -a; umount "$DIR"; ! grep " $DIR " /proc/mounts`},
		"not all":      {"hbmfs", "noauto", `mount -a; ! grep " $DIR " /proc/mounts`},
		"by hand":      {"hbmfs", "noauto", `mount -v -t hbmfs -o pool=2MiB,extent=64K "$SRC" "$DIR"; check; hbmfs stat --json "$DIR" | grep '"pool_bytes": 2097152'; hbmfs umount "$DIR"`},
		"fuse by hand": {"hbmfs", "noauto", `mount -t fuse.hbmfs "$SRC" "$DIR" -o pool=2MiB; check; hbmfs umount "$DIR"`},
		"name in it":   {"hbmfs", "noauto", `mount -t fuse "hbmfs#$SRC" "$DIR" -o ro,nosuid,nodev; check; umount "$DIR"`},
		"fake":         {"hbmfs", "noauto", `mount -f "$DIR"; ! grep " $DIR " /proc/mounts`},
		"sloppy":       {"hbmfs", "noauto", `mount -s -t hbmfs "$SRC" "$DIR" -o frob; check; umount "$DIR"`},
		"noexec":       {"hbmfs", "noexec", `mount "$DIR"; check; grep " $DIR fuse.hbmfs ro,nosuid,nodev,noexec" /proc/mounts; umount "$DIR"`},
		"a log":        {"hbmfs", "noauto", `mount "$DIR" -o "log=$TOP/my.log"; grep msg=mounted "$TOP/my.log"; umount "$DIR"`},
		"others":       {"hbmfs", "allow_other", `mount "$DIR"; check; setpriv --reuid=65534 --clear-groups cmp "$SRC/1" "$DIR/1"; umount "$DIR"`},
		"a user's": {"fuse.hbmfs", "user,noauto", `user="setpriv --reuid=65534 --regid=65534 --clear-groups env XDG_STATE_HOME=/nonexistent/x PATH=$PATH"
$user mount "$DIR"; grep " $DIR fuse.hbmfs ro,nosuid,nodev,noexec" /proc/mounts; $user cmp "$SRC/1" "$DIR/1"; $user umount "$DIR"; ! grep " $DIR " /proc/mounts`},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "a user's" {
				usersMount(t)
			}
			if out, code := fstab(t, c.fsType, c.options, c.script); code != 0 {
				t.Errorf("status %d: %s", code, out)
			}
		})
	}
}

// TestFstabRefused: what can't be is refused with mount(8)'s exit codes, and
// named.
func TestFstabRefused(t *testing.T) {
	for name, c := range map[string]struct {
		options, script string
		code            int
		word            string
	}{
		"an unknown option":    {"frob=7", `mount "$DIR"`, 1, `unknown mount option "frob=7"`},
		"a bad value":          {"pool=much", `mount "$DIR"`, 1, "pool=much"},
		"a remount":            {"noauto", `mount "$DIR"; mount "$DIR" -o remount,pool=2M || { code=$?; umount "$DIR"; exit $code; }`, 1, "unmount it"},
		"no source":            {"noauto", `mount -t hbmfs "$SRC/none" "$DIR"`, 32, "no such file"},
		"by fuse, unknown":     {"noauto", `mount -t fuse.hbmfs "$SRC" "$DIR" -o frob`, 2, `unknown mount option "frob"`},
		"a log in no place":    {"log=/nonexistent/x", `mount "$DIR"`, 32, "/nonexistent/x"},
		"of a user, no helper": {"user", `mount --bind /dev/null /bin/fusermount3; setpriv --reuid=65534 --regid=65534 --clear-groups mount "$DIR"`, 32, "fusermount3"},
	} {
		t.Run(name, func(t *testing.T) {
			out, code := fstab(t, "hbmfs", c.options, c.script)
			if code != c.code || !strings.Contains(out, c.word) {
				t.Errorf("status %d, want %d, and %q: %s", code, c.code, c.word, out)
			}
		})
	}
}
