package device

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// memoryGroup is a control group that limits memory: of this process, or an
// ancestor of that (Documentation/admin-guide/cgroup-v1/memory.rst and
// cgroup-v2.rst, Linux 6.12).
type memoryGroup struct {
	dir   string
	files *groupFiles
}

// groupFiles are the names of what a group tells. A limit that is not there, or
// is no number, is none.
type groupFiles struct {
	limits []string
	usage  string
	cached []string // of memory.stat: what is given back when memory is short
}

var (
	filesV1 = groupFiles{
		limits: []string{"memory.limit_in_bytes"},
		usage:  "memory.usage_in_bytes",
		cached: []string{"total_active_file", "total_inactive_file"},
	}
	filesV2 = groupFiles{
		limits: []string{"memory.max", "memory.high"},
		usage:  "memory.current",
		cached: []string{"active_file", "inactive_file"},
	}
)

// room is what the group's limits leave; false if there are none.
func (g memoryGroup) room() (Room, bool) {
	limit, which := int64(math.MaxInt64), ""
	for _, name := range g.files.limits {
		if n, ok := g.number(name); ok && n < limit {
			limit, which = n, filepath.Join(g.dir, name)
		}
	}
	used, ok := g.number(g.files.usage)
	if which == "" || !ok {
		return Room{}, false
	}
	stat, _ := os.ReadFile(filepath.Join(g.dir, "memory.stat")) // without it, nothing is given back
	for _, name := range g.files.cached {
		n, _ := counterIn(stat, name)
		used -= n
	}
	left := limit - max(0, used)
	return Room{left, fmt.Sprintf("the control group's limit of %d MiB, of which %d MiB are left (%s); raise it", limit>>20, max(0, left)>>20, which)}, true
}

func (g memoryGroup) number(name string) (int64, bool) {
	text, err := os.ReadFile(filepath.Join(g.dir, name))
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil && n >= 0
}

// memoryGroups returns the groups that limit this process, as far as it can see
// them. Files are read below root.
func memoryGroups(root string) ([]memoryGroup, error) {
	member, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if os.IsNotExist(err) {
		return nil, nil // a kernel without control groups
	}
	if err != nil {
		return nil, err
	}
	mounts, err := os.ReadFile(filepath.Join(root, "proc/self/mountinfo"))
	if err != nil {
		return nil, err
	}
	v1, v2 := groupPaths(string(member))
	var all []memoryGroup
	for line := range strings.Lines(string(mounts)) {
		at, ok := parseGroupMount(line)
		switch {
		case ok && at.v2 && v2 != "":
			all = append(all, at.groups(root, v2, &filesV2)...)
		case ok && !at.v2 && v1 != "":
			all = append(all, at.groups(root, v1, &filesV1)...)
		}
	}
	return all, nil
}

// groupPaths returns the groups that /proc/self/cgroup names, in the hierarchy of
// version 1 that has memory and in that of version 2; "" for none.
func groupPaths(text string) (v1, v2 string) {
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		switch {
		case len(parts) < 3:
		case parts[0] == "0" && parts[1] == "":
			v2 = parts[2]
		case strings.Contains(","+parts[1]+",", ",memory,"):
			v1 = parts[2]
		}
	}
	return v1, v2
}

// groupMount is where a hierarchy, or the part of it below root, is mounted.
type groupMount struct {
	root, point string
	v2          bool
}

// parseGroupMount reads a line of mountinfo, and refuses other file systems and
// hierarchies than those that may have memory.
func parseGroupMount(line string) (groupMount, bool) {
	place, what, ok := strings.Cut(line, " - ")
	before, after := strings.Fields(place), strings.Fields(what)
	if !ok || len(before) < 5 || len(after) < 3 {
		return groupMount{}, false
	}
	m := groupMount{root: before[3], point: before[4], v2: after[0] == "cgroup2"}
	return m, m.v2 || after[0] == "cgroup" && strings.Contains(","+after[2]+",", ",memory,")
}

// groups are the one at path and its ancestors, as far as they are mounted. A
// path that does not lie below what is mounted is that of another name space; then
// the mount's own top has to do.
func (m groupMount) groups(root, path string, files *groupFiles) (all []memoryGroup) {
	top := filepath.Join(root, m.point)
	below, err := filepath.Rel(m.root, path)
	if err != nil || below == ".." || strings.HasPrefix(below, "../") {
		below = "."
	}
	for dir := filepath.Join(top, below); ; dir = filepath.Dir(dir) {
		all = append(all, memoryGroup{dir, files})
		if dir == top || len(dir) <= len(top) {
			return all
		}
	}
}
