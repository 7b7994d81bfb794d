package server

import (
	"context"

	"hbmfs/remote/wire"
)

// pageEntries and pagePaths, in bytes, bound a page to less than gRPC's 4 MiB,
// links and all.
const (
	pageEntries = 512
	pagePaths   = 1 << 20
)

// list sends the entries of the directory that req names, with attributes, and
// then runs ahead as far as it asks for. Entries that vanish meanwhile are left
// out.
func (d *dataset) list(ctx context.Context, req *wire.ListRequest, send func(*wire.ListPage) error) error {
	p := pager{send: send}
	a := newAhead(d.tree, req, &p)
	err := d.tree.List(ctx, req.Path, -1, func(entries []*wire.Entry) error {
		a.keep(req.Path, entries)
		return p.add(req.Path, entries, false)
	})
	if err == nil {
		err = p.add(req.Path, nil, true)
	}
	if err != nil {
		return err
	}
	a.descend()
	if err := p.flush(); err != nil {
		return err
	}
	return a.run(ctx)
}

// pager gathers listings into pages of about pageEntries or pagePaths.
type pager struct {
	send   func(*wire.ListPage) error
	page   wire.ListPage
	filled int // entries and listings in page
	paths  int // bytes of the listings' paths
}

// add puts a part of a directory on pages; last says that it is the last one.
func (p *pager) add(path []byte, entries []*wire.Entry, last bool) error {
	for {
		n := min(len(entries), pageEntries-p.filled)
		part := &wire.Listing{Path: path, Entries: entries[:n]}
		entries = entries[n:]
		part.Last = last && len(entries) == 0
		p.page.Listings = append(p.page.Listings, part)
		p.paths += len(path)
		if p.filled += n + 1; p.filled >= pageEntries || p.paths >= pagePaths {
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
	p.page.Listings, p.filled, p.paths = p.page.Listings[:0], 0, 0
	return err
}
