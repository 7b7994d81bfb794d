package target

import (
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"hbmfs/remote/wire"
)

const (
	// pageEntries bounds a page to less than gRPC's 4 MiB, links and all.
	pageEntries = 512
	// direntBuffer is what getdents fills at once, in bytes.
	direntBuffer = 64 << 10
)

var direntBuffers = sync.Pool{New: func() any { return new([direntBuffer]byte) }}

// list sends the entries of the directory that path names, with attributes.
// Entries that vanish meanwhile are left out.
func (d *dataset) list(path []byte, send func(*wire.ListPage) error) error {
	if _, isRoot, err := d.relative(path); err != nil {
		return err
	} else if d.kind != wire.Dataset_DIRECTORY {
		return d.listSingle(isRoot, send)
	}
	fd, err := d.openDir(path)
	if err != nil {
		return os.NewSyscallError("openat2", err)
	}
	defer unix.Close(fd)
	buf := direntBuffers.Get().(*[direntBuffer]byte)
	defer direntBuffers.Put(buf)
	pager := pager{dir: fd, send: send}
	var names []string
	for {
		n, err := unix.ReadDirent(fd, buf[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("getdents64", err)
		}
		if n == 0 {
			return pager.flush()
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names[:0])
		if err := pager.add(names); err != nil {
			return err
		}
	}
}

func (d *dataset) listSingle(isRoot bool, send func(*wire.ListPage) error) error {
	if !isRoot {
		return unix.ENOTDIR
	}
	attr, err := d.stat([]byte(d.base))
	if err != nil {
		return err
	}
	return send(&wire.ListPage{Entries: []*wire.Entry{{Name: []byte(d.base), Attr: attr}}})
}

// pager gathers the entries of dir into pages.
type pager struct {
	dir  int
	page wire.ListPage
	send func(*wire.ListPage) error
}

func (p *pager) add(names []string) error {
	for _, name := range names {
		attr, err := statAt(p.dir, name)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return err
		}
		p.page.Entries = append(p.page.Entries, &wire.Entry{Name: []byte(name), Attr: attr})
		if len(p.page.Entries) == pageEntries {
			if err := p.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *pager) flush() error {
	if len(p.page.Entries) == 0 {
		return nil
	}
	err := p.send(&p.page)
	p.page.Entries = p.page.Entries[:0]
	return err
}
