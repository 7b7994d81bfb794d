package readahead

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"

	"hbmfs/remote"
	"hbmfs/transport"
)

const (
	chunkSize = remote.MaxRead
	// maxAhead is how far one file is read ahead, in bytes: a round trip of
	// milliseconds at several GB/s.
	maxAhead = 8 << 20
	// slack is how far READs may overtake each other, in bytes.
	slack = 2 << 20
	// maxUnder is with how many READs under way a program reads ahead for itself.
	maxUnder = 4
	// maxStrays is how many reads elsewhere make a sequence that is read ahead an
	// abandoned one.
	maxStrays = 16
)

var errShort = errors.New("fewer bytes than the file has")

// chunk is a span that is read ahead: a [transport.Buffer] for those who have taken
// a part of it, once its reading is over.
type chunk struct {
	s    *Stream
	ctx  context.Context
	off  int64
	n    int64
	left int64        // not taken yet; guarded by s.mu
	refs atomic.Int32 // the table's, the reading's, and of each who has taken a part
	read func()       // c.fill

	done chan struct{} // capacity 1: full once the reading is over
	buf  transport.Buffer
	err  error
}

func newChunk(s *Stream, off, n int64) *chunk {
	c, ok := s.budget.pool.Get().(*chunk)
	if !ok {
		c = &chunk{done: make(chan struct{}, 1)}
		c.read = c.fill
	}
	c.s, c.ctx, c.off, c.n, c.left = s, s.ctx, off, n, n
	c.refs.Store(2)
	return c
}

func (c *chunk) end() int64 { return c.off + c.n }

func (c *chunk) fill() {
	c.buf, c.err = c.s.file.Read(c.ctx, c.off, int(c.n))
	if c.err == nil && int64(len(c.buf.Bytes())) != c.n {
		c.buf.Release()
		c.buf, c.err = nil, errShort
	}
	if c.err == nil {
		c.s.budget.brought.Add(c.n)
	}
	s := c.s // c may be another's once it is released
	c.done <- struct{}{}
	c.Release()
	s.fills.Done()
}

// wait returns what became of the reading, or ctx's error.
func (c *chunk) wait(ctx context.Context) error {
	select {
	case <-c.done:
		c.done <- struct{}{} // for the next
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Bytes implements [transport.Buffer].
func (c *chunk) Bytes() []byte { return c.buf.Bytes() }

// Release implements [transport.Buffer]: of one who has taken a part.
func (c *chunk) Release() {
	if c.refs.Add(-1) > 0 {
		return
	}
	<-c.done
	if c.buf != nil {
		c.buf.Release()
	}
	s := c.s
	s.share.Release(c.n)
	c.s, c.ctx, c.buf, c.err = nil, nil, nil, nil
	s.budget.pool.Put(c)
	s.unref()
}

// note takes a READ into account: it returns the chunks that have its first bytes,
// which the caller releases, and starts reading further ones. wants says that the
// budget has no room for them.
func (s *Stream) note(off, n int64) (taken [2]*chunk, wants bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped || n == 0 {
		return taken, false
	}
	seq := s.seqs.add(off, off+n)
	taken[0] = s.take(off, n)
	if taken[0] != nil {
		s.strays = 0
		if end := taken[0].end(); end < off+n {
			taken[1] = s.take(end, off+n-end)
		}
	}
	return taken, s.extend(seq)
}

// take returns the chunk that has the byte at off, if there is one, and counts up
// to n bytes of it as read. s.mu is held.
func (s *Stream) take(off, n int64) *chunk {
	for i, c := range s.chunks {
		if off < c.off || off >= c.end() {
			continue
		}
		if c.left -= min(n, c.end()-off); c.left > 0 {
			c.refs.Add(1) // and else the table's
		} else {
			s.chunks = slices.Delete(s.chunks, i, i+1)
		}
		return c
	}
	return nil
}

// extend reads ahead of seq, as far as it should, and reports true if the budget
// has no room for that. s.mu is held.
func (s *Stream) extend(seq sequence) (wants bool) {
	ahead := seq.ahead()
	if ahead == 0 || s.under.Load() > maxUnder || !s.follow(seq) {
		return false
	}
	for s.end < s.file.Size() {
		n := min(chunkSize, s.file.Size()-s.end)
		if s.end+n > seq.end+ahead || s.seqs.has(s.end, s.end+n) {
			return false
		}
		if !s.start(n) {
			return true
		}
	}
	return false
}

// follow has the chunks be those of seq, and reports false if they are another
// sequence's. s.mu is held.
func (s *Stream) follow(seq sequence) bool {
	behind := func(c *chunk) bool { return c.end() <= seq.end-slack }
	switch {
	case len(s.chunks) > 0 && (seq.end < s.chunks[0].off-slack || seq.end > s.end+slack):
		if s.strays++; s.strays < maxStrays {
			return false
		}
		s.drop()
		s.seqs.add(seq.from, seq.end)
	case slices.ContainsFunc(s.chunks, behind):
		for _, c := range s.chunks {
			if behind(c) {
				c.Release()
			}
		}
		s.chunks = slices.DeleteFunc(s.chunks, behind)
	}
	if len(s.chunks) == 0 || seq.end > s.end {
		s.end = seq.end
	}
	return true
}

// start begins to read the next n bytes, unless the budget has no room for them.
// s.mu is held.
func (s *Stream) start(n int64) bool {
	if s.share == nil {
		s.share = s.budget.join(s)
	}
	if !s.share.TryAcquire(n) {
		return false
	}
	if s.ctx == nil {
		s.ctx, s.cancel = context.WithCancel(context.Background())
	}
	s.used.Store(int64(s.budget.now()))
	c := newChunk(s, s.end, n)
	s.alive.Add(1)
	s.fills.Add(1)
	s.chunks = append(s.chunks, c)
	s.end += n
	go c.read()
	return true
}
