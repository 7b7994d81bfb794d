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
	"hbmfs/transport/internal/landing"
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

const testPool = 64 << 10

// message is one control message.
func message(level, kind int32, c control) []byte {
	b := make([]byte, controlSize)
	putControl(b, level, kind, c)
	return b
}

func fragmentAt(off uint64, size, token uint32) []byte {
	return message(unix.SOL_SOCKET, unix.SCM_DEVMEM_DMABUF, pageAt(off, size, token))
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
	said := append(head(first|2, 5), "hello"...)
	frame.Reply{ID: first | 2, Length: 5, Answer: true}.Put(said)
	f.Add(append(said, head(first, 100)...), append([]byte{0, 0}, fragmentAt(0, 100, 1)...))
	f.Fuzz(func(t *testing.T, heads, says []byte) {
		client, server := net.Pipe()
		rx := &receiver{nic: loopNIC{new(loop)}, pool: &loopPool{Mapped: make(transporttest.Mapped, testPool)}, binding: loopBound{pool: &loopPool{}}, queues: []int{1}}
		l := &link{owner: &devmem{rx: rx}}
		l.Init(lanes.Config{Name: Name, Plan: plan})
		c := newConn(l, rx, testPair(l, rx, client, &saysSocket{says: says}))
		mem := *transporttest.NewMapped(32 << 10)
		done := 0
		for _, span := range []transport.Span{{Mem: &mem, Off: 100, Len: 100}, {Mem: &mem, Off: 4096, Len: 20000}} {
			c.Add(landing.Request{Request: &transport.Request{Dst: span, To: transporttest.Done(func(transport.Result) { done++ })}})
		}
		c.Add(landing.Request{Request: &transport.Request{
			Call: &transport.Call{Ask: []byte("ask"), Answer: make([]byte, 0, transport.MaxCall)},
			To:   transporttest.Done(func(transport.Result) { done++ }),
		}})
		go func() {
			server.Write(heads)
			server.Close()
		}()
		c.End(c.Receive())
		l.Close()
		if done != 3 {
			t.Errorf("%d of 3 requests ended", done)
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

// FuzzServe has a client ask for anything: what comes back is replies, on both
// connections, of which the end of these may cut the last short.
func FuzzServe(f *testing.F) {
	source := transporttest.NewSource()
	file := source.Add(1, extent)
	s := &Server{bounds: transporttest.Ample()}
	f.Add(frame.Request{ID: 7, File: file, Length: 4096, Checksum: true}.Append(nil))
	f.Add(append(frame.Request{File: file, Off: extent, Length: 1}.Append(nil), 1, 2, 3))
	f.Add(frame.Request{Length: MaxLen + 1}.Append(nil))
	chain := append(frame.Request{ID: 8, Call: true, Length: 3, Linked: true}.Append(nil), "ask"...)
	f.Add(frame.Request{ID: 9, File: file, Length: 100}.Append(chain))
	f.Fuzz(func(t *testing.T, b []byte) {
		client, head := net.Pipe()
		sink, data := net.Pipe()
		ended := make(chan error, 1)
		go func() { ended <- s.serve(t.Context(), head, data, transport.Admission{Source: source}) }()
		go func() {
			client.Write(b)
			head.SetReadDeadline(time.Unix(1, 0)) // the end of what it is told
		}()
		var header [frame.ReplySize]byte
		for {
			if _, err := io.ReadFull(client, header[:]); err == io.EOF || err == io.ErrUnexpectedEOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			h, err := frame.ParseReply(header[:])
			if err != nil {
				t.Fatal(err)
			}
			from := sink
			if h.Answer {
				from = client
			}
			if _, err := io.CopyN(io.Discard, from, int64(h.Length)); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		<-ended
		client.Close()
	})
}
