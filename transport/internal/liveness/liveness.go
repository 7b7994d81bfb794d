// Package liveness is for how long the transports wait for a peer that says nothing
// until they take it for dead, on both sides and the same for all of them.
//
// It owns no connection, and holds no lock.
package liveness

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Handshake bounds connecting and proving a session, on both sides.
	Handshake = 10 * time.Second
	// Idle is how long a connection without traffic may be, before its peer is
	// asked whether it is there: a host that lost its power says nothing.
	Idle = 15 * time.Second
	// Unaccepted is how long sent data may stay unacknowledged, or a peer may take
	// nothing more.
	Unaccepted = 30 * time.Second
)

// KeepAlive finds out about hosts that are gone within half a minute.
var KeepAlive = net.KeepAliveConfig{Enable: true, Idle: Idle, Interval: 5 * time.Second, Count: 3}

// Tune has the kernel end t when its peer is dead. What can't be set is left: the
// connection works without it.
func Tune(t *net.TCPConn) {
	_ = t.SetKeepAliveConfig(KeepAlive)
	rc, err := t.SyscallConn()
	if err != nil {
		return
	}
	_ = rc.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(Unaccepted.Milliseconds()))
	})
}
