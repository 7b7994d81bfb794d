package fs

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"

	"hbmfs/remote"
)

// tree is what all nodes of a mount share.
type tree struct {
	cfg     Config
	rootIno uint64
	started time.Time
	ctlDir  *ctlDir
	handles atomic.Uint64 // the last handle given out
	count   counters
	names   names

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
	remote.Dataset
	index uint32
	top   *dirNode
}

func newTree(cfg Config) (*tree, fusefs.InodeEmbedder, error) {
	t := &tree{cfg: cfg, started: time.Now(), rootIno: 1, devs: make(map[devKey]uint64)}
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
		ino, err := t.openTop(context.Background(), d)
		t.rootIno = ino
		return t, d.top, err
	}
	return nil, nil, fmt.Errorf("dataset %q: the target does not serve it: %w", cfg.Dataset, syscall.ENOENT)
}

func (t *tree) datasets() []*dataset {
	var all []*dataset
	for i, d := range t.cfg.Target.Datasets() {
		ds := &dataset{Dataset: d, index: uint32(i)}
		ds.top = &dirNode{node: node{t: t, ds: ds}}
		all = append(all, ds)
	}
	return all
}

// openTop asks for a dataset's top, which has no name to be looked up by, and
// returns its inode number. One that is a file is shown by the target as a
// directory that holds it.
func (t *tree) openTop(ctx context.Context, d *dataset) (uint64, error) {
	a, err := t.cfg.Target.Stat(ctx, d.Name, "")
	if err != nil {
		return 0, fmt.Errorf("dataset %q: %w", d.Name, err)
	}
	d.top.last.Store(&a)
	return t.ino(d, &a), nil
}

// Inode numbers of a dataset's first file system are its own; those of further
// ones get a prefix, so that no two files of a mount share a number.
const inoBits = 48

func (t *tree) ino(d *dataset, a *remote.Attr) uint64 {
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
