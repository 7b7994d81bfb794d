package prefetch

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"hbmfs/remote/namespace"
	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// reader reads what a List call streams.
type reader struct {
	stream   Stream
	progress func() // called for each page
	page     []*wire.Listing
	came     time.Time // of the page
}

// next returns the next directory, or part of one. The error is io.EOF at the
// end.
func (in *reader) next() (*wire.Listing, error) {
	for len(in.page) == 0 {
		page, err := in.stream.Recv()
		if err != nil {
			return nil, err
		}
		in.progress()
		in.page, in.came = page.Listings, time.Now()
	}
	l := in.page[0]
	in.page = in.page[1:]
	return l, nil
}

// maxEntries is how many a directory that was asked for may have.
const maxEntries = 16 << 20

// directory returns the next directory, whole. One of more than limit entries is
// an error.
func (in *reader) directory(limit int) (path string, l *listing, err error) {
	for {
		part, err := in.next()
		if err != nil {
			if l != nil && errors.Is(err, io.EOF) {
				err = fmt.Errorf("%w: half a directory", transport.ErrProtocol)
			}
			return "", nil, err
		}
		if l == nil {
			path, l = string(part.Path), &listing{came: in.came}
		}
		if string(part.Path) != path {
			return "", nil, fmt.Errorf("%w: a part of %q amid %q", transport.ErrProtocol, part.Path, path)
		}
		if len(l.entries)+len(part.Entries) > limit {
			return "", nil, fmt.Errorf("%w: more than %d entries", transport.ErrProtocol, limit)
		}
		if l.entries, err = appendEntries(l.entries, part.Entries); err != nil || part.Last {
			return path, l, err
		}
	}
}

func appendEntries(entries []namespace.Entry, more []*wire.Entry) ([]namespace.Entry, error) {
	entries = slices.Grow(entries, len(more))
	for _, e := range more {
		entry, err := namespace.DecodeEntry(e)
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

// wanted returns the first directory, which must be d.
func (in *reader) wanted(d dir) ([]namespace.Entry, error) {
	path, l, err := in.directory(maxEntries)
	switch {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%w: no directory", transport.ErrProtocol)
	case err != nil:
		return nil, err
	case path != d.path:
		return nil, fmt.Errorf("%w: asked for %q, got %q", transport.ErrProtocol, d.path, path)
	}
	return l.entries, nil
}

// end reads the end of the stream.
func (in *reader) end() error {
	_, err := in.next()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("%w: more than was asked for", transport.ErrProtocol)
	}
	return err
}
