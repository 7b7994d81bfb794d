package fs

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"

	"hbmfs/cache"
	"hbmfs/fs/buffers"
	"hbmfs/fs/byname"
	"hbmfs/fs/lookups"
	"hbmfs/fs/readahead"
	"hbmfs/fs/ring"
	"hbmfs/remote"
	"hbmfs/remote/namespace"
	"hbmfs/transport"
	"hbmfs/transport/logging"
)

// tree is what all nodes of a mount share.
type tree struct {
	target  names
	openAt  opener
	reopen  reopener
	cfg     Config
	log     *logging.Limiter // of what users and targets can cause
	root    fusefs.StableAttr
	started time.Time
	ctlDir  *ctlDir
	handles atomic.Uint64 // the last handle given out
	count   counters
	open    openFiles
	found   lookups.Table[cache.FileKey, File]
	beliefs lookups.Beliefs
	dirs    *byname.Dirs
	bounds  bounds
	rings   *ring.Rings
	ahead   *readahead.Budget
	buffers *buffers.Table

	firstPrefix int
	mu          sync.Mutex
	devs        map[devKey]uint64 // guarded by mu; source file system to prefix of inode numbers
}

type devKey struct {
	dataset uint32
	dev     uint64
}

// dataset is one that the mount shows. Its index keys cached extents.
type dataset struct {
	namespace.Dataset
	index uint32
	top   *dirNode
}

func newTree(target names, open opener, reopen reopener, cfg Config) (*tree, fusefs.InodeEmbedder, error) {
	t := &tree{target: target, openAt: open, reopen: reopen, cfg: cfg, log: logging.NewLimiter(cfg.Log), started: time.Now(), root: fusefs.StableAttr{Ino: 1}, devs: make(map[devKey]uint64)}
	t.bounds = newBounds(t.log)
	t.rings = ring.NewRings(ring.Config{
		Limit: t.bounds.rings, Operations: t.bounds.batches, Clock: func() time.Duration { return time.Duration(target.Now()) },
		Errno: func(err error) syscall.Errno { return t.errno("ring", "", err) },
	})
	cfg.Cache.OnRevoke(func(dom transport.Domain) { t.rings.Revoked(dom.UID) })
	t.ahead = readahead.NewBudget(t.bounds.ahead, target.Now)
	t.buffers = buffers.New(buffers.Config{
		Cache: cfg.Cache, Extent: cfg.Extent, Timeout: remote.DefaultTimeout, Attach: target.Attach, Detach: target.Detach, Log: t.log,
	})
	t.dirs = byname.NewDirs(t.nameTimeout())
	t.ctlDir = newCtlDir(t)
	all := t.datasets()
	if cfg.Dataset == "" {
		t.firstPrefix = 1 // the number of the mount's root is no dataset's
		return t, &datasetsRoot{t: t, all: all}, nil
	}
	for _, d := range all {
		if d.Name != cfg.Dataset {
			continue
		}
		t.root = d.topAttr()
		return t, d.top, t.openTop(context.Background(), d)
	}
	return nil, nil, fmt.Errorf("dataset %q: the target does not serve it: %w", cfg.Dataset, syscall.ENOENT)
}

func (t *tree) datasets() []*dataset {
	var all []*dataset
	for i, d := range t.target.Datasets() {
		ds := &dataset{Dataset: d, index: uint32(i)}
		ds.top = &dirNode{node: node{t: t, ds: ds}}
		all = append(all, ds)
	}
	return all
}

// The top of a dataset stays when its export is replaced, whichever directory that
// is, and the one that was there may be found elsewhere: so a top has an inode
// number and a generation that no directory of the source has.
const (
	topIno = 1 << 63
	topGen = 1
)

func (d *dataset) topAttr() fusefs.StableAttr {
	return fusefs.StableAttr{Mode: syscall.S_IFDIR, Ino: topIno | uint64(d.index), Gen: topGen}
}

// openTop asks for a dataset's top, which has no name to be looked up by. One that
// is a file is shown by the target as a directory that holds it.
func (t *tree) openTop(ctx context.Context, d *dataset) error {
	a, err := t.target.Stat(ctx, d.Name, "")
	if err != nil {
		return fmt.Errorf("dataset %q: %w", d.Name, err)
	}
	d.top.last.Store(&a)
	return nil
}

// Inode numbers of a dataset's first file system are its own; those of further
// ones get a prefix, so that no two files of a mount share a number.
const inoBits = 48

func (t *tree) ino(d *dataset, a *namespace.Attr) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := devKey{d.index, a.Dev}
	prefix, ok := t.devs[key]
	if !ok {
		prefix = uint64(len(t.devs)+t.firstPrefix) << inoBits
		t.devs[key] = prefix
	}
	return prefix ^ a.Ino
}
