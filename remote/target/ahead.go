package target

import (
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"

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
	d     *dataset
	buf   *[direntBuffer]byte
	pager *pager
	room  int      // entries left to send
	next  [][]byte // paths to list, the next one last
	names []string
	// subdirs are of the directory that is being listed.
	subdirs [][]byte
}

func newAhead(d *dataset, req *wire.ListRequest, buf *[direntBuffer]byte, p *pager) *ahead {
	a := &ahead{d: d, buf: buf, pager: p, room: int(min(req.Ahead, maxAhead))}
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
func (a *ahead) run() error {
	began := time.Now()
	for len(a.next) > 0 && time.Since(began) < aheadTime {
		path := a.next[len(a.next)-1]
		a.next = a.next[:len(a.next)-1]
		entries, err := a.read(path)
		if errors.Is(err, errNoRoom) {
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

// errNoRoom: the directory has more entries than may still be sent.
var errNoRoom = errors.New("no room")

// read returns the entries of a directory, or errNoRoom before it looks at any.
func (a *ahead) read(path []byte) ([]*wire.Entry, error) {
	if a.room < 1 {
		return nil, errNoRoom
	}
	fd, err := a.d.openDir(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	a.names = a.names[:0]
	for {
		before := len(a.names)
		if a.names, err = readNames(fd, a.buf, a.names); err != nil {
			return nil, err
		}
		if len(a.names) > a.room-1 {
			return nil, errNoRoom
		}
		if len(a.names) == before {
			return statAll(fd, a.names)
		}
	}
}
