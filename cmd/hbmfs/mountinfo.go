package main

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"
)

// fsType is what the kernel calls a file system of ours.
const fsType = "fuse.hbmfs"

// mountEntry is one line of /proc/self/mountinfo, as proc_pid_mountinfo(5) has it.
type mountEntry struct {
	dev                   string // MAJOR:MINOR
	point, fsType, source string
}

// connection is the id of a FUSE mount's connection to its daemon: the minor
// number of its device.
func (e mountEntry) connection() string {
	_, minor, _ := strings.Cut(e.dev, ":")
	return minor
}

// mountAt returns the topmost mount at path, which is absolute, clean and free
// of symbolic links. It never touches the mount itself.
func mountAt(path string) (mountEntry, bool, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return mountEntry{}, false, err
	}
	defer f.Close()
	entries, err := parseMountinfo(f)
	if err != nil {
		return mountEntry{}, false, err
	}
	top, found := topmost(entries, path)
	return top, found, nil
}

// topmost returns the last entry at path: later mounts cover earlier ones.
func topmost(entries []mountEntry, path string) (top mountEntry, found bool) {
	for _, e := range entries {
		if e.point == path {
			top, found = e, true
		}
	}
	return top, found
}

// parseMountinfo skips lines that it can't read: one odd mount must not hide
// the others.
func parseMountinfo(r io.Reader) ([]mountEntry, error) {
	var entries []mountEntry
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if e, ok := parseMountinfoLine(lines.Text()); ok {
			entries = append(entries, e)
		}
	}
	return entries, lines.Err()
}

func parseMountinfoLine(line string) (mountEntry, bool) {
	place, what, ok := strings.Cut(line, " - ")
	before, after := strings.Fields(place), strings.Fields(what)
	if !ok || len(before) < 6 || len(after) < 2 {
		return mountEntry{}, false
	}
	return mountEntry{
		dev:    before[2],
		point:  unescapeOctal(before[4]),
		fsType: after[0],
		source: unescapeOctal(after[1]),
	}, true
}

// unescapeOctal undoes the kernel's \040 for blanks in names.
func unescapeOctal(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
