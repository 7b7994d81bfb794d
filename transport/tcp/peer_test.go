package tcp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

// fakePeer serves connections by script, once they have proved themselves, and
// returns a session to it.
func fakePeer(t testing.TB, script func(net.Conn)) transport.Session {
	t.Helper()
	return countingPeer(t, func(_ int32, c net.Conn) { script(c) })
}

// countingPeer is [fakePeer], whose script is told which connection it is, from 1
// on. They count from before their handshake: the first is the one that a link
// dials first, however late its script begins.
func countingPeer(t testing.TB, script func(n int32, c net.Conn)) transport.Session {
	t.Helper()
	var conns atomic.Int32
	sessions := transporttest.NewSessions()
	s := sessions.Open(transporttest.NewSource())
	s.Connections, s.Timeout = 1, time.Minute
	s.Addr = transporttest.Listen(t, func(c net.Conn) {
		defer c.Close()
		n := conns.Add(1)
		if _, err := shake.Admit(c, sessions, func(transport.Admission) error { return nil }); err == nil {
			script(n, c)
		}
	})
	return s
}

// dial connects to s until the test ends.
func dial(t testing.TB, s transport.Session) transport.Link {
	t.Helper()
	l, err := New(s.TLS != nil).Dial(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// attach has the link put bytes into mem until the test ends.
func attach(t testing.TB, l transport.Link, mem transport.Memory) {
	t.Helper()
	if _, err := l.Attach(t.Context(), mem); err != nil {
		t.Fatal(err)
	}
}

// fetch submits one request for n bytes and returns them and how it ended. It
// fails the test if the request is not taken.
func fetch(t testing.TB, l transport.Link, file transport.FileRef, off, n int64) ([]byte, transport.Result) {
	t.Helper()
	mem := transporttest.NewMapped(n)
	ended := submit(t, l, file, off, mem)
	return *mem, <-ended
}

func submit(t testing.TB, l transport.Link, file transport.FileRef, off int64, mem *transporttest.Mapped) <-chan transport.Result {
	t.Helper()
	attach(t, l, mem)
	ended := make(chan transport.Result, 1)
	r := &transport.Request{File: file, Off: off, Dst: transport.Span{Mem: mem, Len: mem.Size()}}
	r.To = transporttest.Done(func(res transport.Result) { ended <- res })
	if n, err := l.Submit([]*transport.Request{r}); n != 1 {
		t.Fatalf("not taken: %v", err)
	}
	return ended
}

// eventually fails the test unless ok becomes true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("never: %s", what)
		}
	}
}

// certificates returns a server's configuration and a client's that trusts it.
func certificates(t testing.TB, protos ...string) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	server = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: protos}
	return server, &tls.Config{RootCAs: roots}
}
