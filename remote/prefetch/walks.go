package prefetch

import (
	"slices"
	"sync"
	"time"

	"hbmfs/remote/namespace"
)

const (
	// walkPause is how long a walk may rest at a directory and still be one.
	walkPause = time.Second
	// A walk's first run is for minBudget entries, and each further one for twice
	// as many as the last, up to maxBudget, until some come that nobody wants.
	minBudget, maxBudget = 128, 4096
	// maxFurther is how many directories a run names, and maxFurtherBytes how much
	// their paths may be: a request has to fit into a message.
	maxFurther, maxFurtherBytes = 512, 256 << 10
	// maxLevels is how many directories above its own a walk keeps in mind.
	maxLevels = 64
	// maxRuns is how many runs are under way at once.
	maxRuns = 4
	// maxKept and maxNames bound what is remembered, in entries and names.
	maxKept, maxNames = 64 << 10, 256 << 10
)

// listing is a directory that came ahead.
type listing struct {
	entries []namespace.Entry
	came    time.Time
	session Session
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

func newWalks() *walks {
	w := &walks{kept: make(map[dir]*listing), seen: make(map[dir]*branch), budget: minBudget}
	w.sweeper = time.AfterFunc(time.Hour, w.sweep)
	w.sweeper.Stop()
	return w
}

// lookUp returns what came ahead for d. If it is on its way yet, more is closed when
// to look again. If it is not, and this is a walk, there is a run to make.
func (w *walks) lookUp(s Session, d dir) (l *listing, r *run, more <-chan struct{}) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	walking := w.markUsed(d, now)
	if l := w.remove(d); l != nil {
		if l.session == s && now.Sub(l.came) < MaxAge {
			return l, nil, nil
		}
		w.budget = minBudget
	}
	for _, r := range w.runs {
		if r.covers(d) {
			r.awaited = true
			return nil, nil, r.more
		}
	}
	if !walking || w.closed || len(w.runs) >= maxRuns {
		return nil, nil, nil
	}
	return nil, w.startRun(d), nil
}

// remove returns what is kept for d, and keeps it no more.
func (w *walks) remove(d dir) *listing {
	l := w.kept[d]
	if l != nil {
		delete(w.kept, d)
		w.entries -= len(l.entries) + 1
	}
	return l
}

// startRun starts a run at d: on through its later siblings, and those of the
// directories above.
func (w *walks) startRun(d dir) *run {
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
	room := maxFurtherBytes
	up, name, ok := d.parent()
	for level := 0; ok && level < maxLevels; level++ {
		b := w.seen[up]
		if b == nil {
			break
		}
		for _, sibling := range b.after(name) {
			path := up.child(sibling)
			if room -= len(path); len(paths) == n || room < 0 {
				return paths
			}
			if w.kept[dir{d.dataset, path}] == nil {
				paths = append(paths, path)
			}
		}
		up, name, ok = up.parent()
	}
	return paths
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
	w.remove(d)
	if n := len(l.entries) + 1; w.entries+n <= maxKept {
		w.kept[d] = l
		w.entries += n
		w.arm()
	}
	r.notify()
}

// endRun is the end of a run.
func (w *walks) endRun(r *run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.runs = slices.DeleteFunc(w.runs, func(other *run) bool { return other == r })
	r.notify()
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
			w.remove(d)
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
