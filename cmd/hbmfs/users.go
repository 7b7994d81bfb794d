package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// usersOf names processes, but for the daemon, that have the mount at place
// open, as far as this user may see: at most a few, such as "bash (pid 71)". It
// never touches the mount.
func usersOf(place string, daemon int) []string {
	const enough = 5
	var users []string
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range procs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() || pid == daemon || !usesMount(dir, place) {
			continue
		}
		comm, _ := os.ReadFile(dir + "/comm")
		users = append(users, fmt.Sprintf("%s (pid %d)", strings.TrimSpace(string(comm)), pid))
		if len(users) == enough {
			break
		}
	}
	return users
}

func usesMount(proc, place string) bool {
	links, _ := filepath.Glob(proc + "/fd/*")
	links = append(links, proc+"/cwd", proc+"/root", proc+"/exe")
	for _, link := range links {
		to, err := os.Readlink(link)
		if err == nil && strings.HasPrefix(to, "/") && within(to, place) {
			return true
		}
	}
	maps, _ := os.ReadFile(proc + "/maps")
	return strings.Contains(string(maps), " "+place+"/")
}
