package process

import (
	"os"
	"strings"
)

// IsMounted reports whether something is mounted at dir, which is free of symbolic
// links.
func IsMounted(dir string) bool {
	table, err := os.ReadFile("/proc/self/mountinfo")
	return err == nil && mountListed(string(table), dir)
}

// mountListed looks for dir in a mountinfo table (proc_pid_mountinfo(5)).
func mountListed(table, dir string) bool {
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == dir {
			return true
		}
	}
	return false
}
