package namespace

import (
	"fmt"

	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// Spans is where a file has data, in [From, End).
type Spans struct {
	From, End int64
	Data      []uint64 // where each span begins and ends; ends are rising
}

// DecodeSpans checks a reply about a file of that size, from off on, which lies in it.
func DecodeSpans(r *wire.SpansReply, off, size int64) (*Spans, error) {
	at := uint64(off)
	for i, b := range r.Data {
		if b < at || i%2 == 1 && b == at {
			return nil, fmt.Errorf("%w: spans out of order at %d", transport.ErrProtocol, b)
		}
		at = b
	}
	if len(r.Data)%2 != 0 || at > r.End || r.End > uint64(size) || r.End <= uint64(off) {
		return nil, fmt.Errorf("%w: %d bounds of spans from %d to %d of %d", transport.ErrProtocol, len(r.Data), off, r.End, size)
	}
	return &Spans{From: off, End: int64(r.End), Data: r.Data}, nil
}
