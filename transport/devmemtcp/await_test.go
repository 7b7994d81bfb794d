package devmemtcp

import (
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"hbmfs/transport"
)

// TestAwait waits for bytes of an ordinary connection: all of them, some after a
// Hurry, and those that come no more.
func TestAwait(t *testing.T) {
	peers := make(chan net.Conn, 1)
	addr := loopback(t, func(c net.Conn) { peers <- c; <-t.Context().Done() })
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newKernelSocket(c.(*net.TCPConn))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	peer := <-peers
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

// TestLoanSlowNetwork: a payload that takes longer than the session's time-out is
// lent, while some of it comes.
func TestLoanSlowNetwork(t *testing.T) {
	var target string
	slow := func(t testing.TB, serve func(net.Conn)) string {
		target = loopback(t, serve)
		return loopback(t, func(c net.Conn) { relaySlowly(c, target) })
	}
	b := newLendBenchAt(t, 1, slow, func(s *transport.Session) { s.Timeout = 400 * time.Millisecond })
	began := time.Now()
	b.lent(alice, 64<<10).Return()
	if took := time.Since(began); took < 500*time.Millisecond {
		t.Errorf("it took only %v", took)
	}
	if n := b.link.Stats().Lost; n != 0 {
		t.Errorf("%d connections were given up", n)
	}
}

// relaySlowly carries a connection to a target, and payload a KiB at a time.
func relaySlowly(c net.Conn, target string) {
	defer c.Close()
	c, magic := sniff(c)
	to, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer to.Close()
	go func() {
		io.Copy(to, c)
		to.Close()
	}()
	if magic != DataMagic {
		io.Copy(c, to)
		return
	}
	for err == nil {
		if _, err = io.CopyN(c, to, 1<<10); err == nil {
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// TestLoanTokenOrder: what is given back first lies highest.
func TestLoanTokenOrder(t *testing.T) {
	var l loan
	l.region = new(lendRegion)
	for i, off := range []int64{8192, 0, 4096, 12288} {
		l.add(fragment{off: off, n: 4096, token: uint32(i)}, 4)
	}
	back := l.tokens()
	want := []tokenRange{{start: 3, count: 1}, {start: 0, count: 1}, {start: 2, count: 1}, {start: 1, count: 1}}
	if back.count != 4 || !slices.Equal(back.ranges, want) {
		t.Errorf("%+v", back)
	}
}
