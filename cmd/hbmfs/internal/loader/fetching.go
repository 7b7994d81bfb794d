package loader

import (
	"context"
	"errors"
	"fmt"

	"hbmfs/cmd/hbmfs/internal/stream"
	"hbmfs/fs/client"
)

// fetching gets samples by FETCH.
type fetching struct {
	*openFiles[*client.File]
	p     *playing
	piece int64 // bytes of a FETCH at most
	room  int   // segments of one
}

func beginFetching(p *playing) epochReader {
	f := &fetching{p: p, openFiles: newOpenFiles(p.Set, func(file int) (*client.File, error) {
		return p.via.Mount.Open(p.Set.path(p.via.Dir, file))
	})}
	f.piece, f.room = stream.Share(p.via.Info, p.Workers)
	return f
}

func (f *fetching) worker() sampleReader { return &fetcher{fetching: f} }

// fetcher is one worker's. It holds the latest sample, where files stay open.
type fetcher struct {
	*fetching
	t      tally
	lease  client.Lease
	holder *client.File // of lease; nil: none is held
}

func (f *fetcher) tally() *tally { return &f.t }

func (f *fetcher) get(ctx context.Context, batch []wanted) error {
	return oneByOne(ctx, batch, &f.t, f.sample)
}

func (f *fetcher) sample(ctx context.Context, s wanted) (err error) {
	file, err := f.take(s.File)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.leave(file)) }()
	if f.holder != nil && f.holder != file {
		if err := f.Close(); err != nil {
			return err
		}
	}
	for off, end := s.Off, s.Off+s.Len; off < end; off += f.lease.Fetched {
		if err := f.fetch(file, off, min(end-off, f.piece)); err != nil {
			return err
		}
		if err := f.look(s.File, s.all); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// fetch releases what is held of file with it. The context of a FETCH is one that
// can't end: having it broken off would cost more than the call.
func (f *fetcher) fetch(file *client.File, off, n int64) error {
	opts := client.FetchOptions{MaxSegments: f.room, Release: f.lease.Handle}
	err := stream.FetchWhenRoom(context.Background(), file, &f.lease, off, n, opts)
	if err != nil {
		f.holder = nil
		return err
	}
	f.holder = file
	if f.lease.Fetched == 0 {
		return fmt.Errorf("%s: no bytes came at %d of %d", file.Name(), off, f.lease.FileSize)
	}
	f.t.lease(&f.lease)
	return nil
}

// look checks what lies in device memory, if that can be told and seen.
func (f *fetcher) look(file int, all bool) error {
	if !f.p.checks {
		return nil
	}
	for _, seg := range f.lease.Segments {
		b, err := f.p.via.Mount.Bytes(seg)
		if err != nil {
			return fmt.Errorf("%s: %w", f.holder.Name(), err)
		}
		if err := f.p.Set.Workload.check(b, file, seg.FileOffset, all); err != nil {
			return f.p.wrong(file, err)
		}
	}
	return nil
}

// leave closes a file that does not stay open, which releases what is held of it.
func (f *fetcher) leave(file *client.File) error {
	if !f.keep {
		f.lease.Handle, f.holder = 0, nil
	}
	return f.giveBack(file)
}

// Close implements [io.Closer]: it releases what is held.
func (f *fetcher) Close() error {
	if f.holder == nil {
		return nil
	}
	file, handle := f.holder, f.lease.Handle
	f.holder, f.lease.Handle = nil, 0
	return file.Release(handle)
}
