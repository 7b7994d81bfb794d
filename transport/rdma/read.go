package rdma

import (
	"context"
	"sync"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/landing"
)

// readBuffer is where a plain read's payload is written by the peer, and read by
// the caller: no one copies it. It is a [transport.Buffer].
type readBuffer struct {
	of    *bounce
	piece []byte
}

var readBuffers = sync.Pool{New: func() any { return new(readBuffer) }}

// Bytes implements [transport.Buffer].
func (b *readBuffer) Bytes() []byte { return b.piece }

// Release implements [transport.Buffer].
func (b *readBuffer) Release() {
	b.of.give(b.piece)
	b.of, b.piece = nil, nil
	readBuffers.Put(b)
}

// Read implements [transport.Link].
func (l *link) Read(ctx context.Context, file transport.FileRef, off int64, n int) (transport.Buffer, transport.Result) {
	err := l.CheckRead(file, off, n)
	if err != nil {
		return nil, transport.Result{Err: err}
	}
	b := readBuffers.Get().(*readBuffer)
	b.of = l.reads
	if b.piece, err = l.readPiece(ctx, n); err != nil {
		readBuffers.Put(b)
		return nil, transport.Result{Err: err}
	}
	return l.Carry(ctx, landing.NewRead(file, off, b))
}

// readPiece waits for n bytes that callers give back.
func (l *link) readPiece(ctx context.Context, n int) ([]byte, error) {
	var overdue <-chan time.Time
	for {
		piece, freed := l.reads.tryTake(n)
		if piece != nil {
			return piece, nil
		}
		if overdue == nil {
			overdue = time.After(landing.ReadLimit(l.Session.Timeout))
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-l.Context().Done():
			return nil, l.Ended()
		case <-overdue:
			return nil, landing.ErrOverdue
		}
	}
}
