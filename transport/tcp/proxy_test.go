package tcp

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"

	"hbmfs/transport/internal/status"
	"hbmfs/transport/transporttest"
)

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
	p.addr = listen(t, func(c net.Conn) {
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
	if _, err := io.CopyN(client, target, challengeSize+verdictSize); err != nil {
		return
	}
	for p.reply(client, target) {
	}
}

// reply carries one reply, and reports whether the connection goes on.
func (p *proxy) reply(client, target net.Conn) bool {
	frame := make([]byte, replySize)
	if _, err := io.ReadFull(target, frame); err != nil {
		return false
	}
	h, err := parseReply(frame)
	if err != nil {
		return false
	}
	frame = append(frame, make([]byte, h.length)...)
	if _, err := io.ReadFull(target, frame[replySize:]); err != nil {
		return false
	}
	ok := true
	if h.length > 0 {
		p.once.Do(func() { frame, ok = p.spoil(frame, client) })
	}
	_, err = client.Write(frame)
	return ok && err == nil
}

// spoil returns what is sent in frame's place, and whether the connection goes
// on after that.
func (p *proxy) spoil(frame []byte, client net.Conn) ([]byte, bool) {
	half := replySize + (len(frame)-replySize)/2
	switch p.fault {
	case transporttest.FaultStall:
		<-p.healed
	case transporttest.FaultStallPayload:
		client.Write(frame[:half])
		<-p.healed
		return frame[half:], true
	case transporttest.FaultLength:
		frame = frame[:half]
		binary.LittleEndian.PutUint32(frame[8:], uint32(half-replySize))
	case transporttest.FaultStatus:
		binary.LittleEndian.PutUint16(frame[16:], uint16(status.End))
	case transporttest.FaultUnknown:
		frame[7] ^= 0x80 // of the id's generation
	case transporttest.FaultChecksum:
		frame[half] ^= 1
	case transporttest.FaultDie:
		return frame[:half], false
	}
	return frame, true
}
