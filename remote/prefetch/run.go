package prefetch

import (
	"slices"

	"hbmfs/remote/wire"
)

// run is a List call that runs ahead.
type run struct {
	wanted dir
	roots  []string // what is listed after wanted
	budget int

	// Guarded by walks.mu.
	came    map[string]struct{} // paths
	more    chan struct{}       // closed when something comes, and at the end
	awaited bool                // someone waits for more
}

// covers reports whether d may come yet.
func (r *run) covers(d dir) bool {
	if d.dataset != r.wanted.dataset {
		return false
	}
	if _, came := r.came[d.path]; came {
		return false
	}
	return isBelow(d.path, r.wanted.path) || slices.ContainsFunc(r.roots, func(root string) bool {
		return d.path == root || isBelow(d.path, root)
	})
}

func isBelow(path, root string) bool {
	return root == "" || len(path) > len(root) && path[len(root)] == '/' && path[:len(root)] == root
}

// addTo adds the run to a request.
func (r *run) addTo(req *wire.ListRequest) {
	req.Ahead = uint32(r.budget)
	for _, path := range r.roots {
		req.Further = append(req.Further, []byte(path))
	}
}

// notify wakes those who wait for r.
func (r *run) notify() {
	if r.awaited {
		close(r.more)
		r.more, r.awaited = make(chan struct{}), false
	}
}
