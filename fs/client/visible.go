package client

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// visibleRoot returns the topmost directory of the device dev that leads to path
// without leaving it: the root of the mount, or of the part of it that is bound
// there. The control socket is found in any directory of the mount, but not in a
// file: where a file alone is bound, a directory of the device that is mounted
// elsewhere will do.
func visibleRoot(path string, dev uint64) (string, error) {
	top, err := mountRoot(path, dev)
	if err != nil || isDirOf(top, dev) {
		return top, err
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	defer f.Close()
	points, err := mountPoints(f, dev)
	if err != nil {
		return "", err
	}
	for _, p := range points {
		if isDirOf(p, dev) {
			return p, nil
		}
	}
	return top, nil // which the control socket is not found in
}

func isDirOf(path string, dev uint64) bool {
	var st unix.Stat_t
	return unix.Stat(path, &st) == nil && st.Dev == dev && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// mountPoints returns where the device is mounted, by a table as in
// proc_pid_mountinfo(5).
func mountPoints(table io.Reader, dev uint64) ([]string, error) {
	number := fmt.Sprintf("%d:%d", unix.Major(dev), unix.Minor(dev))
	var points []string
	lines := bufio.NewScanner(table)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 4 && fields[2] == number {
			points = append(points, unescaped.Replace(fields[4]))
		}
	}
	return points, lines.Err()
}

// unescaped undoes what the kernel does to names in the table.
var unescaped = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
