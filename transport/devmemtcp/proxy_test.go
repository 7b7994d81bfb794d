package devmemtcp

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/status"
	"hbmfs/transport/transporttest"
)

// serverSays is how many bytes a target sends in a whole handshake: a challenge
// and a verdict.
const serverSays = 40 + 4 + frame.ProofSize

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
	if !p.meet(g.ticket, c) {
		c.close()
		return
	}
	target.Write(b[:])
}

// meet hands a data connection to the head that has its ticket, and reports
// whether there still is one.
func (p *proxy) meet(t ticket, c proxied) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	got := p.heads[t]
	if got == nil {
		return false
	}
	delete(p.heads, t)
	got <- c // has room for one
	return true
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
	if _, err := io.CopyN(head.client, head.target, serverSays); err != nil {
		return
	}
	var t ticket
	if _, err := io.ReadFull(head.target, t[:]); err != nil {
		return
	}
	got := p.await(t)
	defer p.forget(t, got)
	head.client.Write(t[:])
	var verdict [pairingSize]byte
	if _, err := io.ReadFull(head.target, verdict[:]); err != nil {
		return
	}
	if _, err := head.client.Write(verdict[:]); err != nil || parsePairing(&verdict) != nil {
		return // no data connection came, or not in time
	}
	data := <-got // came before it was accepted
	defer data.close()
	for p.reply(head, data) {
	}
}

// await is where the data connection with a ticket will be.
func (p *proxy) await(t ticket) chan proxied {
	got := make(chan proxied, 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heads[t] = got
	return got
}

// forget closes a data connection that nobody took, also one that comes later.
func (p *proxy) forget(t ticket, got chan proxied) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.heads, t)
	select {
	case c := <-got:
		c.close()
	default:
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
	if h.Answer { // which lies on the head
		data = head
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
		if head == data { // an answer
			half = transport.MaxCall + 1
			payload = make([]byte, half)
		}
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

// TestProxyWithoutData: the proxy does not wait for a data connection that comes
// too late, or with a ticket of nobody.
func TestProxyWithoutData(t *testing.T) {
	g := startTarget(t, transporttest.NewSource(), loopback)
	g.server.patience = 10 * time.Millisecond
	_, g.session.Addr = startProxy(t, g.session.Addr, transporttest.FaultLength, loopback)
	c := admitted(t, g)
	if err := c.pairing(); err == nil {
		t.Error("paired without a data connection")
	}
	ended(t, "its head", c.head)
	ended(t, "a data connection that is late", c.greet(newGreeting(g.session, c.tick)))
	ended(t, "a ticket of nobody", c.greet(newGreeting(g.session, ticket{1})))
}
