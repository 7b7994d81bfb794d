package stream

import (
	"context"
	"crypto/sha256"
	"errors"

	"golang.org/x/sync/errgroup"

	"hbmfs/fs/client"
)

// matches compares device memory with what the target reads from its source.
func (s *stream) matches(ctx context.Context, part *client.Lease, at Span) (bool, error) {
	var want [sha256.Size]byte
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		want, err = s.file.Digest(ctx, at.Off, at.Len)
		return err
	})
	got, err := digestOf(s.file, part)
	if err := errors.Join(err, group.Wait()); err != nil {
		return false, err
	}
	return got == want, nil
}

// digestOf hashes what lies in device memory now.
func digestOf(f *client.File, part *client.Lease) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	for _, seg := range part.Segments {
		b, err := f.Bytes(seg)
		if err != nil {
			return sum, err
		}
		h.Write(b)
	}
	h.Sum(sum[:0])
	return sum, nil
}
