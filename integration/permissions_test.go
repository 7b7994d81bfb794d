package integration

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
)

// nobody is a user, and a group, that is not the daemon's.
const nobody = 65534

func init() {
	children["attempt"] = makeAttempts
	children["use-inherited"] = useInherited
}

// attempt has another user try things, each given as "WHAT WANT PATH": WANT is
// ok, or the names of the errnos that will do, with | between them.
func attempt(t *testing.T, uid int, attempts ...string) {
	t.Helper()
	if out, err := child(t, "attempt", uid, attempts...).CombinedOutput(); err != nil {
		t.Errorf("uid %d: %v\n%s", uid, err, out)
	}
}

// acts is what can be attempted. A file's name is its number.
var acts = map[string]func(path string) error{
	"stat": func(path string) error { return second(os.Stat(path)) },
	"list": func(path string) error { return second(os.ReadDir(path)) },
	"read": func(path string) error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return wrongWord(b, numberOf(path), 1, 0)
	},
	"fetch": func(path string) error {
		b, err := tryFetchAll(path, 0, 1<<20)
		if err != nil {
			return err
		}
		return wrongWord(b, numberOf(path), 1, 0)
	},
	"info": func(path string) error {
		m, err := client.OpenMount(path)
		if err != nil {
			return err
		}
		return m.Close()
	},
	"connect": func(path string) error {
		c, err := dialCtl(filepath.Dir(filepath.Dir(path)))
		if err != nil {
			return err
		}
		return c.Close()
	},
	"bind": func(path string) error {
		return second(net.ListenUnix("unixpacket", &net.UnixAddr{Net: "unixpacket", Name: path}))
	},
}

func makeAttempts(attempts []string) error {
	var wrong []error
	for _, a := range attempts {
		parts := strings.SplitN(a, " ", 3)
		err := acts[parts[0]](parts[2])
		got := "ok"
		if errno, is := errors.AsType[unix.Errno](err); is {
			got = unix.ErrnoName(errno)
		} else if err != nil {
			got = err.Error()
		}
		if !slices.Contains(strings.Split(parts[1], "|"), got) {
			wrong = append(wrong, fmt.Errorf("%s: %s (%v)", a, got, err))
		}
	}
	return errors.Join(wrong...)
}

// permissionTree has a file of each kind that permissions tell apart, and
// directories that may be listed, searched, or neither.
func permissionTree(t *testing.T) string {
	t.Helper()
	src := t.TempDir()
	openPath(t, src)
	files := []struct {
		path string
		mode os.FileMode
		gid  int
	}{
		{"1", 0o444, 0}, {"2", 0o400, 0}, {"3", 0o440, nobody}, {"4", 0o404, nobody}, {"5", 0o000, 0},
		{"list/6", 0o444, 0}, {"search/7", 0o444, 0}, {"closed/8", 0o444, 0},
	}
	for _, dir := range []string{"list", "search", "closed"} {
		must(t, os.Mkdir(filepath.Join(src, dir), 0o755))
	}
	for _, f := range files {
		path := filepath.Join(src, f.path)
		writeTagged(t, path, numberOf(path), 1, 5000)
		must(t, os.Chown(path, 0, f.gid))
		must(t, os.Chmod(path, f.mode))
	}
	must(t, os.Chmod(filepath.Join(src, "list"), 0o744))
	must(t, os.Chmod(filepath.Join(src, "search"), 0o711))
	must(t, os.Chmod(filepath.Join(src, "closed"), 0o700))
	return src
}

// TestPermissions: another user may what the files' owner allowed, and nothing
// at all where the mount is not for others.
func TestPermissions(t *testing.T) {
	for via, source := range sources(t, permissionTree(t)) {
		t.Run(via+"/allow-other", func(t *testing.T) {
			m := startMount(t, source, "--allow-other")
			p := m.path
			attempt(t, nobody,
				"list ok "+m.dir, "info ok "+m.dir, "connect ok "+p(".hbmfs/ctl"),
				"read ok "+p("1"), "fetch ok "+p("1"),
				"stat ok "+p("2"), "read EACCES "+p("2"), "fetch EACCES "+p("2"),
				"read ok "+p("3"), "fetch ok "+p("3"), // by its group
				"read EACCES "+p("4"), "fetch EACCES "+p("4"), // its group may less than others
				"read EACCES "+p("5"), "fetch EACCES "+p("5"),
				"list ok "+p("list"), "read EACCES "+p("list/6"), "fetch EACCES "+p("list/6"),
				"list EACCES "+p("search"), "read ok "+p("search/7"), "fetch ok "+p("search/7"),
				"list EACCES "+p("closed"), "read EACCES "+p("closed/8"), "fetch EACCES "+p("closed/8"),
			)
			// What root has read is in caches now; it is still root's.
			for _, name := range []string{"2", "closed/8"} {
				checkTagged(t, mustRead(t, p(name)), numberOf(name), 1, 0)
				checkTagged(t, fetchAll(t, p(name), 0, 5000), numberOf(name), 1, 0)
			}
			attempt(t, nobody, "read EACCES "+p("2"), "fetch EACCES "+p("2"), "read EACCES "+p("closed/8"), "fetch EACCES "+p("closed/8"))
			inheritAs(t, p("2"), "ok")
			m.awaitLeases(0)
		})
		t.Run(via+"/owner only", func(t *testing.T) {
			m := startMount(t, source)
			p := m.path
			attempt(t, nobody,
				"stat EACCES "+m.dir, "list EACCES "+m.dir, "info EACCES "+m.dir,
				"read EACCES "+p("1"), "fetch EACCES "+p("1"), "fetch EACCES "+p("search/7"),
				"connect EACCES "+p(".hbmfs/ctl"))
			checkTagged(t, fetchAll(t, p("1"), 0, 5000), 1, 1, 0)
			inheritAs(t, p("1"), "EACCES")
			m.awaitLeases(0)
		})
	}
}

// inheritAs hands a file that root has open to another user's process. What may
// be done with it is up to the mount: it is the process that asks.
func inheritAs(t *testing.T, path, want string) {
	t.Helper()
	f := mustOpen(t, path, os.O_RDONLY)
	defer f.Close()
	cmd := child(t, "use-inherited", nobody, want)
	cmd.ExtraFiles = []*os.File{f}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("a descriptor of %s that was handed over: %v\n%s", path, err, out)
	}
}

// useInherited WANT fetches from a file that another user opened.
func useInherited(args []string) error {
	_, err := ioctlFetch(os.NewFile(3, "inherited"), 0, 100)
	got := "ok"
	if errno, is := errors.AsType[unix.Errno](err); is {
		got = unix.ErrnoName(errno)
	}
	if got != args[0] {
		return fmt.Errorf("FETCH: %v, want %s", err, args[0])
	}
	return nil
}
