package tcp

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

func startTLS(t *testing.T, source transport.Source, protos ...string) transport.Session {
	server, client := certificates(t, protos...)
	s := startTarget(t, source, func(c net.Conn) net.Conn { return tls.Server(c, server) }).session
	s.TLS, s.Connections = client, 1
	return s
}

func TestConformanceTLS(t *testing.T) {
	transporttest.Run(t, transporttest.Harness{
		Start: func(t *testing.T, source transport.Source) (transport.Transport, transport.Session) {
			return New(true), startTLS(t, source, "h2", ALPN)
		},
		Checksums: true,
	})
}

func TestEncryptedIsKept(t *testing.T) {
	for _, encrypted := range []bool{true, false} {
		p, err := New(encrypted).Plan(transporttest.NewMapped(8))
		if err != nil || p.Encrypted != encrypted {
			t.Errorf("plan of New(%t): %+v, %v", encrypted, p, err)
		}
	}
	s := startTarget(t, transporttest.NewSource()).session
	s.Connections = 1
	if _, err := New(true).Dial(t.Context(), s); !errors.Is(err, transport.ErrSession) {
		t.Errorf("a session without TLS, where it was planned: %v", err)
	}
}

func TestTLSRefusals(t *testing.T) {
	other := startTLS(t, transporttest.NewSource()) // a server that knows no protocol names
	if _, err := New(true).Dial(t.Context(), other); !errors.Is(err, transport.ErrProtocol) {
		t.Errorf("a server of another protocol: %v", err)
	}
	distrusted := startTLS(t, transporttest.NewSource(), ALPN)
	distrusted.TLS = &tls.Config{}
	if _, err := New(true).Dial(t.Context(), distrusted); !errors.Is(err, transport.ErrConnLost) {
		t.Errorf("a certificate that nobody vouches for: %v", err)
	}
}
