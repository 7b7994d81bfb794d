package tcp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

// fakePeer serves connections by script, once they have proved themselves, and
// returns a session to it.
func fakePeer(t testing.TB, script func(net.Conn)) transport.Session {
	t.Helper()
	sessions := transporttest.NewSessions()
	s := sessions.Open(transporttest.NewSource())
	s.Connections, s.Timeout = 1, time.Minute
	s.Addr = transporttest.Listen(t, func(c net.Conn) {
		defer c.Close()
		if _, err := shake.Admit(c, sessions); err == nil {
			script(c)
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

// fetch submits one request for n bytes and returns them and how it ended. It
// fails the test if the request is not taken.
func fetch(t testing.TB, l transport.Link, file transport.FileRef, off, n int64) ([]byte, transport.Result) {
	t.Helper()
	mem := make(transport.HostMemory, n)
	ended := submit(t, l, file, off, mem)
	return mem, <-ended
}

func submit(t testing.TB, l transport.Link, file transport.FileRef, off int64, mem transport.HostMemory) <-chan transport.Result {
	t.Helper()
	ended := make(chan transport.Result, 1)
	r := &transport.Request{File: file, Off: off, Dst: transport.Span{Mem: mem, Len: int64(len(mem))}}
	r.Done = func(res transport.Result) { ended <- res }
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
