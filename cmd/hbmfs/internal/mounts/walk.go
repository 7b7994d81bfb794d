package mounts

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"hbmfs/transport/printable"
)

// Walked is how far a path leads without a touch to an hbmfs mount.
type Walked struct {
	Place string // absolute, free of symbolic links
	Ours  bool   // Place is an hbmfs mount; Below is the rest of the path, as given
	Mount Entry
	Below string
}

// maxLinks is how many symbolic links a path may have, as for the kernel.
const maxLinks = 40

// Walk resolves path up to the first hbmfs mount on its way. Nothing of that is
// looked at: its daemon may be stuck. Errors are those of a lookup.
func Walk(path string) (Walked, error) {
	entries, err := readMountinfo("/proc/self/mountinfo")
	if err != nil {
		return Walked{}, err
	}
	rest, err := Absolute(path)
	if err != nil {
		return Walked{}, err
	}
	w := Walked{Place: "/"}
	for links := 0; ; {
		var name string
		name, rest, _ = strings.Cut(strings.TrimLeft(rest, "/"), "/")
		if top, found := topmost(entries, w.Place); found && top.Ours() && name != "." && name != ".." {
			w.Ours, w.Mount, w.Below = true, top, strings.Trim(name+"/"+rest, "/")
			return w, nil
		}
		if name == "" {
			return w, nil
		}
		next := filepath.Join(w.Place, name) // also for "..": place has no links, and the kernel is not asked
		target, err := readLink(entries, next)
		switch {
		case err != nil:
			return w, err
		case target == "":
			w.Place = next
			continue
		}
		if links++; links > maxLinks {
			return w, &os.PathError{Op: "lookup", Path: path, Err: unix.ELOOP}
		}
		if filepath.IsAbs(target) {
			w.Place = "/"
		}
		rest = target + "/" + rest
	}
}

// readLink returns where path leads to if it is a symbolic link, else "". A mount
// of ours is none.
func readLink(entries []Entry, path string) (string, error) {
	if top, found := topmost(entries, path); found && top.Ours() {
		return "", nil
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&os.ModeSymlink == 0 {
		return "", err
	}
	if isMagic(entries, path) {
		return "", fmt.Errorf("%s leads to what a process sees, perhaps in another mount name space: nsenter --mount --target PID enters that", printable.Line(path, printable.MaxName))
	}
	return os.Readlink(path)
}

// isMagic reports whether a symbolic link of procfs leads elsewhere than its text
// says (proc(5)): those of another process do, into its root and its files.
func isMagic(entries []Entry, path string) bool {
	dir := filepath.Dir(path)
	top, found := topmost(entries, dir)
	for !found && dir != "/" {
		dir = filepath.Dir(dir)
		top, found = topmost(entries, dir)
	}
	inside, _ := filepath.Rel(dir, path)
	pid, below, deeper := strings.Cut(inside, "/")
	if !found || top.Type != "proc" || !deeper || pid == strconv.Itoa(os.Getpid()) {
		return false
	}
	_, err := strconv.Atoi(pid)
	return err == nil && (below == "root" || below == "cwd" || strings.Contains(below, "fd/"))
}

// Absolute makes path absolute, and does not look at the working directory. What
// ".." means is left to whoever follows symbolic links.
func Absolute(path string) (string, error) {
	if filepath.IsAbs(path) {
		return path, nil
	}
	dir, err := unix.Getwd()
	if err != nil {
		return "", os.NewSyscallError("getcwd", err)
	}
	return dir + "/" + path, nil
}

// Within reports whether path is dir or lies below it. Both are absolute and clean.
func Within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}
