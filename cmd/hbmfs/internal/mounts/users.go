package mounts

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// usersHelper names those who have the mount at the first argument open, one a
// line. The other arguments are pids to leave out. A look at a process can hang
// while that one waits for a mount.
func usersHelper(args []string, out io.Writer) error {
	const enough = 5
	place, hidden := args[0], append(args[1:], fmt.Sprint(os.Getpid()))
	var users []string
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range procs {
		pid := filepath.Base(dir)
		if slices.Contains(hidden, pid) || !usesMount(dir, place) {
			continue
		}
		comm, _ := os.ReadFile(dir + "/comm")
		users = append(users, fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(comm)), pid))
		if len(users) == enough {
			break
		}
	}
	_, err := io.WriteString(out, strings.Join(users, "\n"))
	return err
}

func usesMount(proc, place string) bool {
	links, _ := filepath.Glob(proc + "/fd/*")
	links = append(links, proc+"/cwd", proc+"/root", proc+"/exe")
	for _, link := range links {
		to, err := os.Readlink(link)
		if err == nil && strings.HasPrefix(to, "/") && Within(to, place) {
			return true
		}
	}
	maps, _ := os.ReadFile(proc + "/maps")
	return strings.Contains(string(maps), " "+place+"/")
}
