package tcp

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"

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
	addr   string
	target string
	fault  transporttest.Fault
	once   sync.Once
	healed chan struct{}
	heal   func()
}

func startProxy(t *testing.T, target string, fault transporttest.Fault) *proxy {
	p := &proxy{target: target, fault: fault, healed: make(chan struct{})}
	p.heal = sync.OnceFunc(func() { close(p.healed) })
	var conns sync.WaitGroup
	t.Cleanup(conns.Wait)
	p.addr = transporttest.Listen(t, func(c net.Conn) {
		conns.Add(1)
		defer conns.Done()
		p.serve(c)
	})
	t.Cleanup(p.heal)
	return p
}

// serve carries one connection, the handshake untouched.
func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	target, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer target.Close()
	var up sync.WaitGroup
	defer up.Wait()
	up.Go(func() {
		io.Copy(target, client)
		target.(*net.TCPConn).CloseWrite()
	})
	defer client.Close() // ends up, if the target went first
	if _, err := io.CopyN(client, target, serverSays); err != nil {
		return
	}
	for p.reply(client, target) {
	}
}

// reply carries one reply, and reports whether the connection goes on.
func (p *proxy) reply(client, target net.Conn) bool {
	sent := make([]byte, frame.ReplySize)
	if _, err := io.ReadFull(target, sent); err != nil {
		return false
	}
	h, err := frame.ParseReply(sent)
	if err != nil {
		return false
	}
	sent = append(sent, make([]byte, h.Length)...)
	if _, err := io.ReadFull(target, sent[frame.ReplySize:]); err != nil {
		return false
	}
	ok := true
	if h.Length > 0 {
		p.once.Do(func() { sent, ok = p.spoil(sent, client) })
	}
	_, err = client.Write(sent)
	return ok && err == nil
}

// spoil returns what is sent in sent's place, and whether the connection goes
// on after that.
func (p *proxy) spoil(sent []byte, client net.Conn) ([]byte, bool) {
	half := frame.ReplySize + (len(sent)-frame.ReplySize)/2
	switch p.fault {
	case transporttest.FaultStall:
		<-p.healed
	case transporttest.FaultStallPayload:
		client.Write(sent[:half])
		<-p.healed
		return sent[half:], true
	case transporttest.FaultLength:
		if h, _ := frame.ParseReply(sent); h.Answer {
			half = frame.ReplySize + transport.MaxCall + 1
			sent = append(sent, make([]byte, transport.MaxCall)...)
		}
		sent = sent[:half]
		binary.LittleEndian.PutUint32(sent[8:], uint32(half-frame.ReplySize))
	case transporttest.FaultStatus:
		binary.LittleEndian.PutUint16(sent[16:], uint16(status.End))
	case transporttest.FaultUnknown:
		sent[7] ^= 0x80 // of the id's generation
	case transporttest.FaultChecksum:
		sent[half] ^= 1
	case transporttest.FaultDie:
		return sent[:half], false
	}
	return sent, true
}
