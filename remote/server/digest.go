package server

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sys/unix"

	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// digestPiece is what a digest reads and hashes in one turn, in bytes.
const digestPiece = 1 << 20

var digestBuffers = sync.Pool{New: func() any { b := make([]byte, digestPiece); return &b }}

// Digest implements [wire.ControlServer].
func (c *control) Digest(ctx context.Context, req *wire.DigestRequest) (*wire.DigestReply, error) {
	s, err := c.findSession(req.Session)
	if err != nil {
		return nil, err
	}
	if len(req.Version) != len(transport.Version{}) {
		return nil, asStatus("digest", unix.EINVAL)
	}
	ref := transport.FileRef{Handle: req.Handle, Version: transport.Version(req.Version)}
	place, err := c.t.bounds.digests.Take(s.peer, 1)
	if err != nil {
		return nil, asStatus("digest", fmt.Errorf("%w: %w", unix.EAGAIN, err))
	}
	defer place.Leave()
	sum, err := s.digest(ctx, ref, req.Offset, req.Length)
	if err != nil {
		return nil, asStatus("digest", err)
	}
	return &wire.DigestReply{Sha256: sum}, nil
}

func (s *session) digest(ctx context.Context, ref transport.FileRef, off, n uint64) ([]byte, error) {
	f, err := s.file(ref)
	if err != nil {
		return nil, err
	}
	defer f.release()
	if size := uint64(f.object.Size()); off > size || n > size-off {
		return nil, fmt.Errorf("%w: %d bytes at %d of a file of %d", transport.ErrRange, n, off, size)
	}
	turn := s.target.bounds.hashing.Join(s.peer, 0)
	defer turn.Leave()
	sum := sha256.New()
	for n > 0 {
		piece := min(n, digestPiece)
		if err := turn.Wait(ctx, 1); err != nil {
			return nil, err
		}
		err := f.hash(ctx, sum, int64(off), int(piece))
		turn.Release(1)
		if err != nil {
			return nil, err
		}
		off += piece
		n -= piece
	}
	return sum.Sum(nil), nil
}

func (f *openFile) hash(ctx context.Context, to io.Writer, off int64, n int) error {
	buf := digestBuffers.Get().(*[]byte)
	defer digestBuffers.Put(buf)
	err := f.object.Read(ctx, off, (*buf)[:n])
	if err == nil {
		_, err = to.Write((*buf)[:n])
	}
	return err
}
