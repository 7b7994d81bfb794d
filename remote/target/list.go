package target

import (
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"hbmfs/remote/wire"
)

const (
	// pageEntries bounds a page to less than gRPC's 4 MiB, links and paths and
	// all.
	pageEntries = 512
	// direntBuffer is what getdents fills at once, in bytes.
	direntBuffer = 64 << 10
)

var direntBuffers = sync.Pool{New: func() any { return new([direntBuffer]byte) }}

// list sends the entries of the directory that req names, with attributes, and
// then runs ahead as far as it asks for. Entries that vanish meanwhile are left
// out.
func (d *dataset) list(req *wire.ListRequest, send func(*wire.ListPage) error) error {
	if _, isRoot, err := d.relative(req.Path); err != nil {
		return err
	} else if d.kind != wire.Dataset_DIRECTORY {
		return d.listSingle(isRoot, send)
	}
	buf := direntBuffers.Get().(*[direntBuffer]byte)
	defer direntBuffers.Put(buf)
	p := pager{send: send}
	a := newAhead(d, req, buf, &p)
	if err := d.listWanted(req.Path, buf, &p, a); err != nil {
		return err
	}
	return a.run()
}

func (d *dataset) listSingle(isRoot bool, send func(*wire.ListPage) error) error {
	if !isRoot {
		return unix.ENOTDIR
	}
	attr, err := d.stat([]byte(d.base))
	if err != nil {
		return err
	}
	entries := []*wire.Entry{{Name: []byte(d.base), Attr: attr}}
	return send(&wire.ListPage{Listings: []*wire.Listing{{Entries: entries, Last: true}}})
}

// listWanted sends the directory page by page, however large it is.
func (d *dataset) listWanted(path []byte, buf *[direntBuffer]byte, p *pager, a *ahead) error {
	fd, err := d.openDir(path)
	if err != nil {
		return os.NewSyscallError("openat2", err)
	}
	defer unix.Close(fd)
	var found []string
	for {
		names, err := readNames(fd, buf, found[:0])
		if err != nil {
			return err
		}
		entries, err := statAll(fd, names)
		if err != nil {
			return err
		}
		last := len(names) == 0
		if err := p.add(path, entries, last); err != nil {
			return err
		}
		if last {
			a.descend()
			return p.flush()
		}
		a.keep(path, entries)
		found = names
	}
}

// readNames appends the next names of the directory fd; none at its end.
func readNames(fd int, buf *[direntBuffer]byte, names []string) ([]string, error) {
	for {
		n, err := unix.ReadDirent(fd, buf[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("getdents64", err)
		}
		before := len(names)
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
		if n == 0 || len(names) > before { // "." and ".." may come alone
			return names, nil
		}
	}
}

// statAll returns the entries of these names that are still there.
func statAll(dir int, names []string) ([]*wire.Entry, error) {
	entries := make([]*wire.Entry, 0, len(names))
	for _, name := range names {
		attr, err := statAt(dir, name)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, &wire.Entry{Name: []byte(name), Attr: attr})
	}
	return entries, nil
}

// pager gathers listings into pages of about pageEntries.
type pager struct {
	send   func(*wire.ListPage) error
	page   wire.ListPage
	filled int // entries and listings in page
}

// add puts a part of a directory on pages; last says that it is the last one.
func (p *pager) add(path []byte, entries []*wire.Entry, last bool) error {
	for {
		n := min(len(entries), pageEntries-p.filled)
		part := &wire.Listing{Path: path, Entries: entries[:n]}
		entries = entries[n:]
		part.Last = last && len(entries) == 0
		p.page.Listings = append(p.page.Listings, part)
		if p.filled += n + 1; p.filled >= pageEntries {
			if err := p.flush(); err != nil {
				return err
			}
		}
		if len(entries) == 0 {
			return nil
		}
	}
}

func (p *pager) flush() error {
	if p.filled == 0 {
		return nil
	}
	err := p.send(&p.page)
	p.page.Listings, p.filled = p.page.Listings[:0], 0
	return err
}
