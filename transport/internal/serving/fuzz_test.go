package serving

import (
	"io"
	"testing"
	"time"

	"hbmfs/transport/internal/frame"
	"hbmfs/transport/transporttest"
)

// FuzzServe has a client ask for anything: what comes back is replies, of which the
// end of the connection may cut the last short.
func FuzzServe(f *testing.F) {
	source := transporttest.NewSource()
	file := source.Add(1, 1<<20)
	f.Add(frame.Request{ID: 7, File: file, Length: 4096, Checksum: true}.Append(nil))
	f.Add(append(frame.Request{File: file, Off: 1 << 20, Length: 1}.Append(nil), 1, 2, 3))
	f.Add(frame.Request{Length: frame.MaxLen + 1}.Append(nil))
	f.Add(frame.Request{ID: 9, File: file, Length: 4096}.Append(appendCall(nil, 8, true, []byte("ask"))))
	f.Add(appendCall(appendCall(nil, 1, true, []byte{1}), 2, false, make([]byte, 1024))[:1060])
	f.Fuzz(func(t *testing.T, b []byte) {
		s := run(source)
		defer s.end(t)
		go func() {
			s.client.Write(b)
			s.server.SetReadDeadline(time.Unix(1, 0)) // the end of what it is told
		}()
		var header [frame.ReplySize]byte
		for {
			if _, err := io.ReadFull(s.client, header[:]); err == io.EOF || err == io.ErrUnexpectedEOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			h, err := frame.ParseReply(header[:])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.CopyN(io.Discard, s.client, int64(h.Length)); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	})
}
