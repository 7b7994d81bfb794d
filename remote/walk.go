package remote

import (
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"hbmfs/remote/wire"
)

// MaxAge is how old an answer of [Target.List] may be.
const MaxAge = 500 * time.Millisecond

const (
	// walkPause is how long a walk may rest at a directory and still be one.
	walkPause = time.Second
	// A walk's first run is for minBudget entries, and each further one for twice
	// as many as the last, up to maxBudget, until some come that nobody wants.
	minBudget, maxBudget = 128, 4096
	// maxFurther is how many directories a run names.
	maxFurther = 512
	// maxRuns is how many runs are under way at once.
	maxRuns = 4
	// maxKept and maxNames bound what is remembered, in entries and names.
	maxKept, maxNames = 64 << 10, 256 << 10
	// aheadPatience is how long to wait for what is on its way: a directory may
	// be slow to list that this caller has no interest in.
	aheadPatience = 100 * time.Millisecond
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

// listing is a directory that came ahead.
type listing struct {
	entries []Entry
	came    time.Time
	session *session
}

// walks sees when a tree is walked, and keeps what the target then lists ahead of
// being asked. A listing is used once, in the session that it came in. All that
// is kept is forgotten after a time, used or not.
type walks struct {
	mu      sync.Mutex // guards all below
	closed  bool
	kept    map[dir]*listing
	entries int // in kept, and one for each listing
	seen    map[dir]*branch
	names   int // in seen
	runs    []*run
	budget  int         // of the next run
	sweeper *time.Timer // runs while there is something to forget
	armed   bool
}

// branch is a directory with subdirectories that was listed.
type branch struct {
	subdirs []string  // names, in the order listed
	pos     int       // of the one that a run began with last
	used    time.Time // when it, or something below it, was listed last
}

// run is a List call that runs ahead.
type run struct {
	wanted dir
	roots  []string // what is listed after wanted
	budget int

	// Guarded by walks.mu.
	came map[string]struct{} // paths
	more chan struct{}       // closed when something comes, and at the end
	hope bool                // someone waits for more
}

func newWalks() *walks {
	w := &walks{kept: make(map[dir]*listing), seen: make(map[dir]*branch), budget: minBudget}
	w.sweeper = time.AfterFunc(time.Hour, w.sweep)
	w.sweeper.Stop()
	return w
}

// ask returns what came ahead for d. If it is on its way yet, more is closed when
// to ask again. If it is not, and this is a walk, there is a run to make.
func (w *walks) ask(s *session, d dir) (l *listing, r *run, more <-chan struct{}) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	walking := w.touch(d, now)
	if l := w.take(d); l != nil {
		if l.session == s && now.Sub(l.came) < MaxAge {
			return l, nil, nil
		}
		w.budget = minBudget
	}
	for _, r := range w.runs {
		if r.covers(d) {
			r.hope = true
			return nil, nil, r.more
		}
	}
	if !walking || w.closed || len(w.runs) >= maxRuns {
		return nil, nil, nil
	}
	return nil, w.begin(d), nil
}

// touch keeps the branches that lead to d in mind. It reports whether d's parent
// is one of them.
func (w *walks) touch(d dir, now time.Time) (walking bool) {
	up, _, ok := d.parent()
	walking = ok && w.walkedAt(up, now)
	for ok {
		w.walkedAt(up, now)
		up, _, ok = up.parent()
	}
	return walking
}

func (w *walks) walkedAt(d dir, now time.Time) bool {
	b := w.seen[d]
	if b == nil || now.Sub(b.used) > walkPause {
		return false
	}
	b.used = now
	return true
}

// take returns what is kept for d, and keeps it no more.
func (w *walks) take(d dir) *listing {
	l := w.kept[d]
	if l != nil {
		delete(w.kept, d)
		w.entries -= len(l.entries) + 1
	}
	return l
}

// begin starts a run at d: on through its later siblings, and those of the
// directories above.
func (w *walks) begin(d dir) *run {
	r := &run{
		wanted: d,
		budget: w.budget,
		came:   map[string]struct{}{d.path: {}},
		more:   make(chan struct{}),
	}
	r.roots = w.after(d, min(r.budget, maxFurther))
	w.budget = min(2*w.budget, maxBudget)
	w.runs = append(w.runs, r)
	return r
}

// after returns up to n directories that a walk comes to when it is through d.
func (w *walks) after(d dir, n int) []string {
	var paths []string
	for up, name, ok := d.parent(); ok; up, name, ok = up.parent() {
		b := w.seen[up]
		if b == nil {
			break
		}
		for _, sibling := range b.after(name) {
			if len(paths) == n {
				return paths
			}
			path := up.child(sibling)
			if w.kept[dir{d.dataset, path}] == nil {
				paths = append(paths, path)
			}
		}
	}
	return paths
}

// after returns the subdirectories that come after name.
func (b *branch) after(name string) []string {
	i := slices.Index(b.subdirs[b.pos:], name) + b.pos
	if i < b.pos {
		i = slices.Index(b.subdirs, name)
	}
	if i < 0 {
		return nil
	}
	b.pos = i
	return b.subdirs[i+1:]
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

// ask puts the run into a request.
func (r *run) ask(req *wire.ListRequest) {
	req.Ahead = uint32(r.budget)
	for _, path := range r.roots {
		req.Further = append(req.Further, []byte(path))
	}
}

// keep keeps what came, unless it was not to come in this run, or there is no
// room.
func (w *walks) keep(r *run, path string, l *listing) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := dir{r.wanted.dataset, path}
	if w.closed || !r.covers(d) {
		return
	}
	r.came[path] = struct{}{}
	w.take(d)
	if n := len(l.entries) + 1; w.entries+n <= maxKept {
		w.kept[d] = l
		w.entries += n
		w.arm()
	}
	r.tell()
}

// tell wakes those who wait for r.
func (r *run) tell() {
	if r.hope {
		close(r.more)
		r.more, r.hope = make(chan struct{}), false
	}
}

// end is the end of a run.
func (w *walks) end(r *run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.runs = slices.DeleteFunc(w.runs, func(other *run) bool { return other == r })
	r.tell()
}

// listed notes which subdirectories d has.
func (w *walks) listed(d dir, entries []Entry) {
	var subdirs []string
	for i := range entries {
		if entries[i].Attr.Mode&syscall.S_IFMT == syscall.S_IFDIR {
			subdirs = append(subdirs, entries[i].Name)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop(d)
	if len(subdirs) == 0 || len(subdirs) > maxNames || w.closed {
		return
	}
	if w.names+len(subdirs) > maxNames {
		clear(w.seen)
		w.names = 0
	}
	w.seen[d] = &branch{subdirs: subdirs, used: time.Now()}
	w.names += len(subdirs)
	w.arm()
}

func (w *walks) drop(d dir) {
	if b := w.seen[d]; b != nil {
		delete(w.seen, d)
		w.names -= len(b.subdirs)
	}
}

func (w *walks) arm() {
	if !w.armed {
		w.sweeper.Reset(walkPause)
		w.armed = true
	}
}

// sweep forgets what is too old to be of use.
func (w *walks) sweep() {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for d, l := range w.kept {
		if now.Sub(l.came) >= MaxAge {
			w.take(d)
			w.budget = minBudget
		}
	}
	for d, b := range w.seen {
		if now.Sub(b.used) > walkPause {
			w.drop(d)
		}
	}
	w.armed = false
	if len(w.kept)+len(w.seen) > 0 {
		w.arm()
	} else {
		w.budget = minBudget
	}
}

// close forgets everything.
func (w *walks) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.sweeper.Stop()
	clear(w.kept)
	clear(w.seen)
}
