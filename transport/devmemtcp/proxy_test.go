package devmemtcp

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"

	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/status"
	"hbmfs/transport/transporttest"
)

// proxy stands between a client and a target, and makes the target seem to
// misbehave once, at the first reply with payload.
type proxy struct {
	target string
	fault  transporttest.Fault
	once   sync.Once
	healed chan struct{}
	heal   func()

	mu    sync.Mutex // guards heads
	heads map[ticket]chan proxied
}

// proxied is a connection of each side.
type proxied struct{ client, target net.Conn }

func (p proxied) close() {
	p.client.Close()
	p.target.Close()
}

func startProxy(t *testing.T, target string, fault transporttest.Fault, listen listener) (p *proxy, addr string) {
	p = &proxy{target: target, fault: fault, healed: make(chan struct{}), heads: make(map[ticket]chan proxied)}
	p.heal = sync.OnceFunc(func() { close(p.healed) })
	var conns sync.WaitGroup
	t.Cleanup(conns.Wait)
	addr = listen(t, func(c net.Conn) {
		conns.Add(1)
		defer conns.Done()
		p.serve(c)
	})
	t.Cleanup(p.heal)
	return p, addr
}

func (p *proxy) serve(client net.Conn) {
	client, magic := sniff(client)
	target, err := net.Dial("tcp", p.target)
	if err != nil {
		client.Close()
		return
	}
	c := proxied{client, target}
	if magic == HeadMagic {
		defer c.close()
		p.head(c)
		return
	}
	var b [greetingSize]byte
	if _, err := io.ReadFull(client, b[:]); err != nil {
		c.close()
		return
	}
	g, _ := parseGreeting(&b)
	target.Write(b[:])
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heads[g.ticket] <- c
}

// head carries one pair, the handshakes untouched.
func (p *proxy) head(head proxied) {
	var up sync.WaitGroup
	defer up.Wait()
	up.Go(func() {
		io.Copy(head.target, head.client)
		head.target.(*net.TCPConn).CloseWrite()
	})
	defer head.close() // ends up, if the target went first
	if _, err := io.CopyN(head.client, head.target, frame.ServerSays); err != nil {
		return
	}
	var t ticket
	if _, err := io.ReadFull(head.target, t[:]); err != nil {
		return
	}
	got := make(chan proxied, 1)
	p.mu.Lock()
	p.heads[t] = got
	p.mu.Unlock()
	head.client.Write(t[:])
	if _, err := io.CopyN(head.client, head.target, pairingSize); err != nil {
		return
	}
	data := <-got
	defer data.close()
	for p.reply(head, data) {
	}
}

// reply carries one reply, and reports whether the pair goes on.
func (p *proxy) reply(head, data proxied) bool {
	b := make([]byte, frame.ReplySize)
	if _, err := io.ReadFull(head.target, b); err != nil {
		return false
	}
	h, err := frame.ParseReply(b)
	if err != nil {
		return false
	}
	payload := make([]byte, h.Length)
	if _, err := io.ReadFull(data.target, payload); err != nil {
		return false
	}
	ok := true
	if h.Length > 0 {
		p.once.Do(func() { b, payload, ok = p.spoil(b, payload, head.client, data.client) })
	}
	_, err = head.client.Write(b)
	if err == nil {
		_, err = data.client.Write(payload)
	}
	return ok && err == nil
}

// spoil returns what is sent in a reply's place, and whether the pair goes on
// after that.
func (p *proxy) spoil(b, payload []byte, head, data net.Conn) ([]byte, []byte, bool) {
	half := len(payload) / 2
	switch p.fault {
	case transporttest.FaultStall:
		<-p.healed
	case transporttest.FaultStallPayload:
		head.Write(b)
		data.Write(payload[:half])
		<-p.healed
		return nil, payload[half:], true
	case transporttest.FaultLength:
		payload = payload[:half]
		binary.LittleEndian.PutUint32(b[8:], uint32(half))
	case transporttest.FaultStatus:
		binary.LittleEndian.PutUint16(b[16:], uint16(status.End))
	case transporttest.FaultUnknown:
		b[7] ^= 0x80 // of the id's generation
	case transporttest.FaultChecksum:
		payload[half] ^= 1
	case transporttest.FaultDie:
		return b, payload[:half], false
	}
	return b, payload, true
}
