package liveness

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestTune reads back what the kernel was told.
func TestTune(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	Tune(c.(*net.TCPConn))
	rc, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for option, want := range map[int]int{
		unix.TCP_USER_TIMEOUT: int(Unaccepted.Milliseconds()),
		unix.TCP_KEEPIDLE:     int(Idle / time.Second),
	} {
		err := rc.Control(func(fd uintptr) {
			got, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, option)
			if err != nil || got != want {
				t.Errorf("option %d is %d, %v; want %d", option, got, err, want)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
