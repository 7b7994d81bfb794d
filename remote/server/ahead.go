package server

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/remote/server/store"
	"hbmfs/remote/wire"
)

// Limits on how far a listing runs ahead, whatever the mount asks for.
const (
	maxAhead   = 4096 // entries
	maxFurther = 1024 // directories named
	// aheadTime is how long to go on. What a mount can use is this young.
	aheadTime = 500 * time.Millisecond
)

// ahead lists the directories that a walk will want next.
type ahead struct {
	tree  store.Tree
	pager *pager
	room  int      // entries left to send
	next  [][]byte // paths to list, the next one last
	// subdirs are of the directory that is being listed.
	subdirs [][]byte
}

func newAhead(tree store.Tree, req *wire.ListRequest, p *pager) *ahead {
	a := &ahead{tree: tree, pager: p, room: int(min(req.Ahead, maxAhead))}
	if a.room > 0 {
		a.next = slices.Clone(req.Further[:min(len(req.Further), maxFurther)])
		slices.Reverse(a.next)
	}
	return a
}

// keep notes the directories among the entries of path. There are no more of
// them than there is room for.
func (a *ahead) keep(path []byte, entries []*wire.Entry) {
	for _, e := range entries {
		if len(a.subdirs) >= a.room {
			return
		}
		if e.Attr.Mode&unix.S_IFMT == unix.S_IFDIR {
			a.subdirs = append(a.subdirs, join(path, e.Name))
		}
	}
}

// descend makes what was kept the next to list.
func (a *ahead) descend() {
	slices.Reverse(a.subdirs)
	a.next = append(a.next, a.subdirs...)
	a.subdirs = a.subdirs[:0]
}

func join(dir, name []byte) []byte {
	if len(dir) == 0 {
		return name
	}
	return slices.Concat(dir, []byte{'/'}, name)
}

// run sends what there is room and time for.
func (a *ahead) run(ctx context.Context) error {
	began := time.Now()
	for len(a.next) > 0 && time.Since(began) < aheadTime {
		path := a.next[len(a.next)-1]
		a.next = a.next[:len(a.next)-1]
		entries, err := a.read(ctx, path)
		if errors.Is(err, store.ErrTooMany) {
			break
		}
		if err != nil {
			continue // whoever asks for it by name gets the error
		}
		a.room -= len(entries) + 1
		if err := a.pager.add(path, entries, true); err != nil {
			return err
		}
		a.keep(path, entries)
		a.descend()
	}
	return a.pager.flush()
}

// read returns the entries of a directory, or [store.ErrTooMany].
func (a *ahead) read(ctx context.Context, path []byte) (entries []*wire.Entry, err error) {
	if a.room < 1 {
		return nil, store.ErrTooMany
	}
	err = a.tree.List(ctx, path, a.room-1, func(some []*wire.Entry) error {
		entries = append(entries, some...)
		return nil
	})
	return entries, err
}
