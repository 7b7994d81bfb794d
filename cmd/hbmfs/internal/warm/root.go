package warm

import (
	"fmt"
	"path/filepath"
)

// roots are the names of the directory that an order's paths are below: as it was
// given first, and then absolute, and without symbolic links.
type roots []string

func rootsOf(dir string) roots {
	r := roots{dir}
	if abs, err := filepath.Abs(dir); err == nil {
		r = append(r, abs)
	}
	if resolved, err := filepath.EvalSymlinks(r[len(r)-1]); err == nil {
		r = append(r, resolved)
	}
	return r
}

// join is where a path of an order is. The error wraps [ErrOrder] if that is not
// below the directory.
func (r roots) join(path string) (string, error) {
	if filepath.IsLocal(path) {
		return filepath.Join(r[0], path), nil
	}
	for _, root := range r {
		if below, err := filepath.Rel(root, path); err == nil && filepath.IsAbs(path) && filepath.IsLocal(below) {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: %s is not below %s", ErrOrder, quoted(path), r[0])
}
