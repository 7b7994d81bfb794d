package devmemtcp

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/lanes"
	"hbmfs/transport/transporttest"
)

// saysSocket says of what it received whatever it was told to, once for each
// Receive.
type saysSocket struct {
	pagesSocket
	says []byte // of each, how many messages, and them
}

func (s *saysSocket) Receive(host, control []byte) (n, controls int, err error) {
	if len(s.says) == 0 {
		return 0, 0, nil
	}
	most := int(s.says[0]) * 64
	s.says = s.says[1:]
	controls = copy(control, s.says[:min(len(s.says), most)])
	s.says = s.says[controls:]
	return min(len(host), max(1, most)), controls, nil
}

// FuzzReceive has target and kernel say anything while requests are under way:
// each must end once, and nothing outside of the destinations may change.
func FuzzReceive(f *testing.F) {
	head := func(id uint64, length uint32) []byte {
		b := make([]byte, frame.ReplySize)
		frame.Reply{ID: id, Length: length}.Put(b)
		return b
	}
	first := uint64(1 << 16) // slot 0, first use
	linear := message(unix.SOL_SOCKET, unix.SCM_DEVMEM_LINEAR, control{size: 64})
	f.Add(append(head(first, 100), head(first|1, 20000)...), append([]byte{0, 0, 0, 0, 0, 0, 0}, fragmentAt(0, 100, 1)...))
	f.Add(head(first|1, 20000), append([]byte{1}, append(linear, 255)...))
	f.Add(append(head(first, 100), head(first, 100)...), bytes.Repeat([]byte{0}, 200))
	f.Add(head(first, 99), []byte{9})
	f.Add(head(depth, 0), []byte(nil))
	f.Fuzz(func(t *testing.T, heads, says []byte) {
		client, server := net.Pipe()
		rx := &receiver{nic: loopNIC{new(loop)}, pool: &loopPool{HostMemory: make(transport.HostMemory, testPool)}, binding: loopBound{pool: &loopPool{}}}
		l := &link{owner: &devmem{rx: rx}}
		l.Init(lanes.Config{Name: Name, MaxLen: MaxLen})
		c := newConn(l, rx, client, &saysSocket{says: says}, nil)
		mem := make(transport.HostMemory, 32<<10)
		transporttest.Scribble(mem)
		done := 0
		for _, span := range []transport.Span{{Mem: mem, Off: 100, Len: 100}, {Mem: mem, Off: 4096, Len: 20000}} {
			c.Add(&transport.Request{Dst: span, Done: func(transport.Result) { done++ }})
		}
		go func() {
			server.Write(heads)
			server.Close()
		}()
		c.Retire(c.Receive())
		l.Close()
		if done != 2 {
			t.Errorf("%d of 2 requests ended", done)
		}
		for _, outside := range [][]byte{mem[:100], mem[200:4096], mem[24096:]} {
			if !transporttest.Scribbled(outside) {
				t.Error("written outside of the destinations")
			}
		}
		if n := l.tokens.Load(); n != 0 {
			t.Errorf("%d tokens are left", n)
		}
	})
}

// FuzzServe has a client ask for anything: what comes back is whole replies, on
// both connections.
func FuzzServe(f *testing.F) {
	source := transporttest.NewSource()
	file := source.Add(1, extent)
	f.Add(frame.Request{ID: 7, File: file, Length: 4096, Checksum: true}.Append(nil))
	f.Add(append(frame.Request{File: file, Off: extent, Length: 1}.Append(nil), 1, 2, 3))
	f.Add(frame.Request{Length: MaxLen + 1}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		client, head := net.Pipe()
		sink, data := net.Pipe()
		ended := make(chan error, 1)
		go func() { ended <- serve(head, data, source) }()
		go func() {
			client.Write(b)
			head.SetReadDeadline(time.Unix(1, 0)) // the end of what it is told
		}()
		var header [frame.ReplySize]byte
		for {
			if _, err := io.ReadFull(client, header[:]); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			h, err := frame.ParseReply(header[:])
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.CopyN(io.Discard, sink, int64(h.Length)); err != nil {
				t.Fatalf("%d bytes of %d: %v", n, h.Length, err)
			}
		}
		<-ended
		client.Close()
	})
}
