package prefetch

import (
	"strings"
)

// dir is a directory of the target's.
type dir struct{ dataset, path string }

// parent returns the directory that d is in, and d's name there. The root of a
// dataset has none.
func (d dir) parent() (up dir, name string, ok bool) {
	if d.path == "" {
		return dir{}, "", false
	}
	i := strings.LastIndexByte(d.path, '/')
	return dir{d.dataset, d.path[:max(i, 0)]}, d.path[i+1:], true
}

func (d dir) child(name string) string {
	if d.path == "" {
		return name
	}
	return d.path + "/" + name
}
