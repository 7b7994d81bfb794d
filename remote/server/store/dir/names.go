package dir

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/remote/server/store"
	"hbmfs/remote/server/store/dir/breaks"
	"hbmfs/transport"
)

const (
	// calmFor is how long what was changed is not delegated again: whoever changes
	// much in a directory waits for its holders once in that time.
	calmFor = 10 * time.Second
	// maxCalm is how many such there may be before those are forgotten that are over.
	maxCalm = 1 << 12
	// maxDepth bounds the directories of a name, each of which takes a descriptor.
	maxDepth = 64
)

// names are the delegations behind the names that mounts believe: of each file, and
// of each directory on the way to it, from the root of its tree on.
type names struct {
	kernel delegator
	files  *Files
	calm   time.Duration
	off    bool         // nothing is to be delegated
	held   atomic.Int64 // descriptors
	mounts breaks.Mounts

	mu     sync.Mutex // guards all below, and what it points to
	at     map[place]*delegated
	byFD   map[int]*delegated // those too that are being taken, or were recalled
	calmed map[place]time.Time
}

type place struct {
	tree *tree
	path string
}

// delegated is a file or directory. What a name below it leads to does not change
// before it was recalled.
type delegated struct {
	place
	parent  *delegated // to which it has a reference; nil: it is the tree's root
	fd      int        // closed with the last reference
	isFile  bool       // then it has a version
	version transport.Version
	ctime   unix.Timespec

	// Guarded by names.mu:
	refs     int
	taken    bool // it was delegated, and all above is set
	recalled bool // whoever changes it has been noticed
	below    map[*delegated]struct{}
	holds    map[*hold]struct{}
}

// hold is who believes a name.
type hold struct {
	names  *names
	of     *delegated
	holder store.Holder
}

func newNames(t *Files, kernel delegator) *names {
	return &names{
		kernel: kernel, files: t, calm: calmFor,
		at: make(map[place]*delegated), byFD: make(map[int]*delegated), calmed: make(map[place]time.Time),
	}
}

// WithoutDelegations has no names delegated. It is for before there are stores.
func (t *Files) WithoutDelegations() { t.names.off = true }

// Undelegated implements [store.Delegating].
func (d *tree) Undelegated() string { return d.undelegated }

// Delegate implements [store.Delegating].
func (d *tree) Delegate(_ context.Context, path []byte, v transport.Version, holder store.Holder) (store.Delegation, error) {
	if err := store.CheckPath(path); err != nil {
		return nil, err
	}
	why := d.undelegated
	if depth := strings.Count(string(path), "/"); depth >= maxDepth {
		why = "it is too deep in directories"
	}
	if why != "" || len(path) == 0 {
		return nil, undelegated(why)
	}
	n := d.files.names
	if err := n.mounts.Start(n.findCovered); err != nil {
		return nil, undelegated(err.Error())
	}
	of, err := n.file(place{d, string(path)}, v)
	if err != nil {
		return nil, err
	}
	return n.hold(of, holder)
}

func undelegated(why string) error { return fmt.Errorf("%w: %s", store.ErrUndelegated, why) }

var errChangedNow = undelegated("something on the way to it is being changed")

// hold takes over the reference.
func (n *names) hold(of *delegated, holder store.Holder) (store.Delegation, error) {
	h := &hold{names: n, of: of, holder: holder}
	n.mu.Lock()
	recalled := of.recalled
	if !recalled {
		of.holds[h] = struct{}{}
	}
	n.mu.Unlock()
	if recalled {
		n.release(of)
		return nil, errChangedNow
	}
	return h, nil
}

// Close implements [store.Delegation].
func (h *hold) Close() {
	h.names.mu.Lock()
	delete(h.of.holds, h)
	h.names.mu.Unlock()
	h.names.release(h.of)
}

// reserve counts a descriptor: of those beside the files', half may be delegations.
func (n *names) reserve() bool {
	if n.held.Add(1) <= n.files.budget/28 && n.files.reserveBeside() {
		return true
	}
	n.held.Add(-1)
	return false
}

func (n *names) unreserve() {
	n.held.Add(-1)
	n.files.beside.Add(-1)
}

var _ store.Delegating = (*tree)(nil)
