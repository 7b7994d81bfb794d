package receive

import (
	"io"
	"net"
	"testing"
	"time"
)

// TestAwait waits for bytes of an ordinary connection: all of them, some after a
// Hurry, and those that come no more.
func TestAwait(t *testing.T) {
	c, peer := tcpPair(t)
	s, err := NewKernelSocket(c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const all = 10 << 10
	await := func(n int) (unread chan int) {
		unread = make(chan int, 1)
		go func() {
			if err := s.Await(n); err != nil {
				t.Error(err)
			}
			n, err := s.Unread()
			if err != nil {
				t.Error(err)
			}
			unread <- n
		}()
		return unread
	}
	quiet := func(unread chan int) {
		t.Helper()
		select {
		case n := <-unread:
			t.Fatalf("%d bytes were enough", n)
		case <-time.After(50 * time.Millisecond):
		}
	}
	send := func(n int) {
		t.Helper()
		if _, err := peer.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}

	unread := await(all)
	send(all - 1)
	quiet(unread)
	send(1)
	if n := <-unread; n != all {
		t.Errorf("%d bytes have come", n)
	}
	if n := <-await(all); n != all {
		t.Errorf("%d bytes were there already", n)
	}

	unread = await(2 * all)
	quiet(unread)
	s.Hurry()
	<-unread
	unread = await(2 * all)
	quiet(unread)
	peer.Close()
	<-unread
	if _, err := io.CopyN(io.Discard, c, all); err != nil {
		t.Fatal(err)
	}
	for range 2 { // whoever has seen the end sees it again
		<-await(all)
	}
}

// TestKernelSocketAllocatesNothing receives over an ordinary connection: what
// comes is host bytes then.
func TestKernelSocketAllocatesNothing(t *testing.T) {
	client, server := tcpPair(t)
	s, err := NewKernelSocket(client)
	if err != nil {
		t.Fatal(err)
	}
	host, control, b := make([]byte, 100), make([]byte, 4*controlSize), []byte("x")
	if n, err := s.Unread(); n != 0 || err != nil {
		t.Errorf("unread: %d, %v", n, err)
	}
	if n := testing.AllocsPerRun(100, func() {
		server.Write(b)
		n, controls, err := s.Receive(host, control)
		if n != 1 || controls != 0 || err != nil || host[0] != 'x' {
			t.Error(n, controls, err)
		}
		if n, err := s.Unread(); n != 0 || err != nil {
			t.Errorf("unread: %d, %v", n, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	time.AfterFunc(10*time.Millisecond, s.Shutdown)
	if n, _, err := s.Receive(host, control); n != 0 || err != nil {
		t.Errorf("after shutdown: %d, %v", n, err)
	}
	s.Close()
	if _, _, err := s.Receive(host, control); err == nil {
		t.Error("received after Close")
	}
}

func tcpPair(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		s.Close()
	})
	return c.(*net.TCPConn), s.(*net.TCPConn)
}
