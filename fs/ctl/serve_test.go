package ctl

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/fs/uapi"
)

// TestEndOfWhoDoesNotRead: what a connection keeps ends with its program also if that left
// replies unread, and its own end on the way to the daemon.
func TestEndOfWhoDoesNotRead(t *testing.T) {
	defer func(d time.Duration) { sendTimeout = d }(sendTimeout)
	sendTimeout = 100 * time.Millisecond
	s := serveOne(t)
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if r, _ := s.ask(keptOp, null); r.Error != 0 {
		t.Fatalf("%+v", r)
	}
	unix.Close(null)
	own, err := s.client.File()
	if err != nil {
		t.Fatal(err)
	}
	sendOwnEnd(int(own.Fd()))
	own.Close()
	s.client.Close()
	select {
	case <-(<-s.keeps).closed:
	case <-time.After(10 * time.Second):
		t.Error("the connection does not end")
		s.server.mu.Lock()
		for c := range s.server.conns {
			c.socket.Close()
		}
		s.server.mu.Unlock()
	}
}

// sendOwnEnd sends requests with the client's end itself, until the daemon answers no
// more and takes no more.
func sendOwnEnd(fd int) {
	request := make([]byte, uapi.CtlRequestSize)
	uapi.EncodeCtlRequest(request, &uapi.CtlRequest{Size: uint32(uapi.CtlRequestSize), Op: uapi.CtlStats})
	for full := 0; full < 2; {
		err := unix.Sendmsg(fd, request, unix.UnixRights(fd), nil, unix.MSG_DONTWAIT)
		switch err {
		case nil:
			full = 0
		case unix.EAGAIN:
			full++
			time.Sleep(10 * time.Millisecond)
		default:
			return // the daemon has hung up
		}
	}
}
