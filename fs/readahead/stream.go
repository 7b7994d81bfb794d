// Package readahead reads open files ahead of programs that read them in
// sequence, so that the kernel's own window can be small and a touch of a mapped
// file brings little.
//
// It owns the host copies that it has brought and nobody has read yet, chunks of
// [remote.MaxRead] bytes, and decides how far to run ahead: nothing before a
// second READ follows a first, then as a sequence goes on, until a bound for the
// file, for its user or for all is reached. It never keeps what was read, never
// reads ahead in a file whose change could go unnoticed, and passes no chunk off
// as fresh: each READ out of one is vouched for anew, and what can't be is read as
// if there were no chunks. What fails ahead is nobody's error.
//
// Locking: Stream.mu guards a stream's sequences and its table of chunks,
// Budget.mu the table of streams; it may be taken while a stream's is held, and not
// the other way. Neither is held over I/O or while waiting.
package readahead

import (
	"context"
	"sync"
	"sync/atomic"

	"hbmfs/remote"
	"hbmfs/transport"
	"hbmfs/transport/limits"
)

// File is one version of a file, as [remote.File] has it.
type File interface {
	Size() int64
	Read(ctx context.Context, off int64, n int) (transport.Buffer, error)
	VouchSoon(ctx context.Context, since remote.Moment) error
	VouchAhead(now remote.Moment)
}

// Stream is the reads of one open file.
type Stream struct {
	file   File
	budget *Budget
	user   string

	used  atomic.Int64 // when a chunk last was, or begun; a [remote.Moment]
	under atomic.Int32 // READs under way
	alive atomic.Int32 // 1 until Close, and one for each chunk that anybody has

	fills sync.WaitGroup // chunks that are being read; added to under mu, before stopped

	mu      sync.Mutex // guards what follows
	stopped bool
	seqs    sequences
	chunks  []*chunk // by offset; none overlap
	end     int64    // of the last chunk, while there are any
	strays  int      // reads of other sequences since the last one out of a chunk
	share   *limits.Share
	ctx     context.Context // of the chunks that are being read
	cancel  context.CancelFunc
}

// Init readies s for a file that user has open. It never runs ahead in one that
// is not settled. The stream must be closed.
func (s *Stream) Init(b *Budget, user string, f File, settled bool) {
	s.budget, s.user, s.file = b, user, f
	s.stopped = !settled || f.Size() <= remote.MaxRead
	s.alive.Store(1)
}

// Read lends n bytes from off, or those up to the end of the file if that comes
// first. n is [remote.MaxRead] at most. The error is as File.Read has it, and into
// lends nothing then.
func (s *Stream) Read(ctx context.Context, off int64, n int, into *Bytes) error {
	s.under.Add(1)
	defer s.under.Add(-1)
	n = int(min(int64(n), max(s.file.Size()-off, 0)))
	taken, wants := s.note(off, int64(n))
	if wants {
		s.budget.reclaim(s)
	}
	if taken[0] == nil {
		return s.plain(ctx, off, n, into)
	}
	if s.serve(ctx, taken, off, n, into) {
		return nil
	}
	into.Release()
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.plain(ctx, off, n, into)
}

func (s *Stream) plain(ctx context.Context, off int64, n int, into *Bytes) error {
	b, err := s.file.Read(ctx, off, n)
	if err != nil {
		return err
	}
	into.add(b, b.Bytes())
	return nil
}

// serve lends n bytes from off out of what was taken, and reads what is beyond. It
// reports false if that is not to be had, or can't be vouched for.
func (s *Stream) serve(ctx context.Context, taken [2]*chunk, off int64, n int, into *Bytes) bool {
	now := s.budget.now()
	s.file.VouchAhead(now)
	s.used.Store(int64(now))
	for _, c := range taken {
		if c != nil {
			into.add(c, nil) // gives it back, whatever comes
		}
	}
	got := 0
	for i, c := range taken {
		if c == nil {
			break
		}
		if c.wait(ctx) != nil {
			s.failed(ctx)
			return false
		}
		b := c.buf.Bytes()[off+int64(got)-c.off:]
		into.pieces[i] = b[:min(len(b), n-got)]
		got += len(into.pieces[i])
	}
	if got < n && s.plain(ctx, off+int64(got), n-got, into) != nil {
		return false
	}
	if s.file.VouchSoon(ctx, now) != nil {
		return false
	}
	s.budget.used.Add(int64(got))
	return true
}

// failed drops all since a chunk could not be read, or was dropped, unless it was
// its reader who did not wait.
func (s *Stream) failed(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop()
}

// Stop ends the reading ahead for good and forgets what it brought. It waits for
// nothing.
func (s *Stream) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	s.drop()
}

// Close is Stop that waits until nothing uses the file any more. What is lent
// stays so until it is released.
func (s *Stream) Close() {
	s.Stop()
	s.fills.Wait()
	s.budget.remove(s)
	s.unref()
}

// unref gives the stream's share back with the last chunk.
func (s *Stream) unref() {
	if s.alive.Add(-1) == 0 && s.share != nil {
		s.share.Leave()
	}
}

// dropIdle drops what nobody has read since.
func (s *Stream) dropIdle(since remote.Moment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if remote.Moment(s.used.Load()) <= since {
		s.drop()
	}
}

// drop forgets all chunks and sequences. s.mu is held.
func (s *Stream) drop() {
	if s.cancel != nil {
		s.cancel()
		s.ctx, s.cancel = nil, nil
	}
	for _, c := range s.chunks {
		c.Release()
	}
	clear(s.chunks)
	s.chunks, s.strays, s.seqs = s.chunks[:0], 0, sequences{}
}
