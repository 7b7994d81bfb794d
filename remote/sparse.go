package remote

import (
	"context"
	"errors"
	"syscall"

	"hbmfs/remote/namespace"
	"hbmfs/remote/session"
	"hbmfs/remote/wire"
)

// SeekData returns the first offset from off on that the file has data at. The
// error wraps ENXIO if there is none.
func (f *File) SeekData(ctx context.Context, off int64) (int64, error) {
	for off >= 0 && off < f.Size() {
		s, err := f.spansAt(ctx, off)
		if err != nil {
			return 0, err
		}
		for i := 0; i < len(s.Data); i += 2 {
			if off < int64(s.Data[i+1]) {
				return max(off, int64(s.Data[i])), nil
			}
		}
		off = s.End
	}
	return 0, syscall.ENXIO
}

// SeekHole returns the first offset from off on that a hole is at; the end of the
// file is one. The error wraps ENXIO if off is not within the file.
func (f *File) SeekHole(ctx context.Context, off int64) (int64, error) {
	if off < 0 || off >= f.Size() {
		return 0, syscall.ENXIO
	}
	for off < f.Size() {
		s, err := f.spansAt(ctx, off)
		if err != nil {
			return 0, err
		}
		for i := 0; i < len(s.Data) && off >= int64(s.Data[i]); i += 2 {
			off = max(off, int64(s.Data[i+1]))
		}
		if off < s.End {
			break
		}
	}
	return off, nil
}

// inHole reports whether [off, off+n), which lies in the file, is all zeros for
// want of data, so that it need not be read. It is false where that is not known,
// and where the version can't be vouched for.
func (f *File) inHole(ctx context.Context, off int64, n int) bool {
	if f.full() || !f.settled || f.Size() <= MaxRead {
		return false
	}
	arrived := f.t.Now()
	hole, err := f.SeekHole(ctx, off)
	if err != nil || hole != off {
		return false
	}
	data, err := f.SeekData(ctx, off)
	if err == nil && data < off+int64(n) || err != nil && !errors.Is(err, syscall.ENXIO) {
		return false
	}
	return f.Vouch(ctx, arrived) == nil
}

// full reports whether the file is known to have no holes: as many blocks as
// bytes.
func (f *File) full() bool { return f.attr.Blocks >= (f.attr.Size+511)/512 }

// spansAt returns spans that off is within.
func (f *File) spansAt(ctx context.Context, off int64) (*namespace.Spans, error) {
	if f.Stale() {
		return nil, f.errStale()
	}
	if f.full() {
		return &namespace.Spans{End: f.Size(), Data: []uint64{0, f.attr.Size}}, nil
	}
	if s := f.spans.Load(); s != nil && s.From <= off && off < s.End {
		return s, nil
	}
	s, err := f.askSpans(ctx, off)
	if err != nil {
		return nil, f.judge(err)
	}
	f.spans.Store(s)
	return s, nil
}

func (f *File) askSpans(ctx context.Context, off int64) (*namespace.Spans, error) {
	var found *namespace.Spans
	err := f.t.call(ctx, func(ctx context.Context, s *session.Session) error {
		ref, err := f.refIn(s)
		if err != nil {
			return err
		}
		reply, err := f.t.control.Spans(ctx, &wire.SpansRequest{
			Session: s.ID, Handle: ref.Handle, Version: ref.Version[:], Offset: uint64(off),
		})
		if err != nil {
			return err
		}
		found, err = namespace.DecodeSpans(reply, off, f.Size())
		return err
	})
	return found, err
}
