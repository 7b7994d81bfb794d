package mounts

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// FSType is what the kernel calls a file system of ours.
const FSType = "fuse.hbmfs"

// Entry is one line of /proc/self/mountinfo, as proc_pid_mountinfo(5) has it.
type Entry struct {
	Dev                 string // MAJOR:MINOR
	Point, Type, Source string
	Owner               uint32 // uid that a FUSE mount's daemon had
}

// Ours reports whether it is an hbmfs mount.
func (e Entry) Ours() bool { return e.Type == FSType }

// At returns the topmost mount at path, which is absolute, clean and free
// of symbolic links. It never touches the mount itself.
func At(path string) (Entry, bool, error) {
	entries, err := readMountinfo("/proc/self/mountinfo")
	if err != nil {
		return Entry{}, false, err
	}
	top, found := topmost(entries, path)
	return top, found, nil
}

func readMountinfo(table string) ([]Entry, error) {
	f, err := os.Open(table)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseMountinfo(f)
}

// topmost returns the last entry at path: later mounts cover earlier ones.
func topmost(entries []Entry, path string) (top Entry, found bool) {
	for _, e := range entries {
		if e.Point == path {
			top, found = e, true
		}
	}
	return top, found
}

// DeviceNumber is Dev as st_dev has it.
func (e Entry) DeviceNumber() (uint64, error) {
	var major, minor uint32
	if _, err := fmt.Sscanf(e.Dev, "%d:%d", &major, &minor); err != nil {
		return 0, fmt.Errorf("device number %q: %w", e.Dev, err)
	}
	return unix.Mkdev(major, minor), nil
}

// IsOnly reports whether the file system is mounted once, as far as can be seen
// from here.
func (e Entry) IsOnly() bool {
	entries, err := readMountinfo("/proc/self/mountinfo")
	return err == nil && countDev(entries, e.Dev) == 1
}

// countDev returns how many times the file system dev is mounted.
func countDev(entries []Entry, dev string) (n int) {
	for _, e := range entries {
		if e.Dev == dev {
			n++
		}
	}
	return n
}

// parseMountinfo skips lines that it can't read: one odd mount must not hide
// the others.
func parseMountinfo(r io.Reader) ([]Entry, error) {
	var entries []Entry
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if e, ok := parseMountinfoLine(lines.Text()); ok {
			entries = append(entries, e)
		}
	}
	return entries, lines.Err()
}

func parseMountinfoLine(line string) (Entry, bool) {
	place, what, ok := strings.Cut(line, " - ")
	before, after := strings.Fields(place), strings.Fields(what)
	if !ok || len(before) < 6 || len(after) < 2 {
		return Entry{}, false
	}
	e := Entry{
		Dev:    before[2],
		Point:  unescaped.Replace(before[4]),
		Type:   after[0],
		Source: unescaped.Replace(after[1]),
	}
	if len(after) > 2 {
		e.Owner = parseOwner(after[2])
	}
	return e, true
}

// parseOwner finds FUSE's user_id among a file system's options; 0 without it.
func parseOwner(options string) uint32 {
	for option := range strings.SplitSeq(options, ",") {
		if id, ok := strings.CutPrefix(option, "user_id="); ok {
			n, _ := strconv.ParseUint(id, 10, 32)
			return uint32(n)
		}
	}
	return 0
}

// unescaped undoes what the kernel does to names in the table.
var unescaped = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\043`, "#", `\134`, `\`)
