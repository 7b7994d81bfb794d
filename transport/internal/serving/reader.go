package serving

import (
	"io"

	"hbmfs/transport/internal/frame"
)

// readAhead is how many bytes of requests one read may bring.
const readAhead = 16 << 10

// reader takes requests from a stream.
type reader struct {
	from io.Reader
	buf  []byte
	r, w int // what is unread in buf
}

func newReader(from io.Reader) reader { return reader{from: from, buf: make([]byte, readAhead)} }

// next returns the request that comes next, and what it asks if it is a call, good
// until the following one. Before it waits for the peer it calls pause.
func (in *reader) next(pause func()) (r frame.Request, ask []byte, err error) {
	if err := in.fill(frame.RequestSize, pause); err != nil {
		return r, nil, err
	}
	if r, err = frame.ParseRequest(in.buf[in.r:in.w]); err != nil {
		return r, nil, err
	}
	n := frame.RequestSize + r.AskLen()
	if err := in.fill(n, pause); err != nil {
		return r, nil, err
	}
	ask = in.buf[in.r+frame.RequestSize : in.r+n]
	in.r += n
	return r, ask, nil
}

// fill has n bytes be unread.
func (in *reader) fill(n int, pause func()) error {
	for in.w-in.r < n {
		pause()
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
		m, err := in.from.Read(in.buf[in.w:])
		in.w += m
		switch {
		case m > 0:
		case err == io.EOF && in.w > 0:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
	return nil
}
