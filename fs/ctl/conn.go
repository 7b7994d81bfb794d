package ctl

import (
	"fmt"
	"net"
	"sync"

	"golang.org/x/sys/unix"
)

// Conn is a client's connection, and what ends with the last descriptor of its end.
type Conn struct {
	Peer
	socket *net.UnixConn

	mu    sync.Mutex
	kept  map[Kept]struct{} // guarded by mu
	ended bool              // guarded by mu
}

// Kept is what a connection keeps. Its Close is called once, unless it was dropped.
type Kept interface{ Close() }

// Keep has k closed once the connection has ended. It reports false if it has ended
// already: then k is the caller's still.
func (c *Conn) Keep(k Kept) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	if c.kept == nil {
		c.kept = make(map[Kept]struct{})
	}
	c.kept[k] = struct{}{}
	return true
}

// Drop reports whether the connection kept k, which it does no more: it is the
// caller's, who closes it.
func (c *Conn) Drop(k Kept) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.kept[k]
	delete(c.kept, k)
	return ok
}

// end closes what is kept.
func (c *Conn) end() {
	c.mu.Lock()
	all := c.kept
	c.kept, c.ended = nil, true
	c.mu.Unlock()
	for k := range all {
		k.Close()
	}
}

// Peer is who has connected, as of connect(2).
type Peer struct {
	PID, UID, GID uint32
	fd            func(use func(fd int)) error
}

// User names who has connected, for limits.
func (p *Peer) User() string { return fmt.Sprintf("uid %d", p.UID) }

// Socket lends the connection's descriptor to use.
func (p *Peer) Socket(use func(fd int)) error { return p.fd(use) }

func peerOf(socket *net.UnixConn) (Peer, error) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	p := Peer{fd: func(use func(fd int)) error { return raw.Control(func(fd uintptr) { use(int(fd)) }) }}
	var cred *unix.Ucred
	var cerr error
	if err := p.Socket(func(fd int) { cred, cerr = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return Peer{}, err
	}
	if cerr != nil {
		return Peer{}, cerr
	}
	p.PID, p.UID, p.GID = uint32(cred.Pid), cred.Uid, cred.Gid
	return p, nil
}
