package remote_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"testing"
	"time"

	"hbmfs/remote"
	"hbmfs/transport"
	"hbmfs/transport/tcp"
)

// authority issues certificates that only its own pool trusts.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, pool: x509.NewCertPool()}
	a.cert, a.key = a.sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.Subject = pkix.Name{CommonName: "test"}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) issue() []tls.Certificate {
	a.t.Helper()
	cert, key := a.sign(&x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	return []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}
}

func TestTLS(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	n := startNode(t, &tls.Config{Certificates: ours.issue(), ClientCAs: ours.pool, ClientAuth: tls.RequireAndVerifyClientCert})
	n.write(name(1), 1, 1)
	for what, c := range map[string]struct {
		client *tls.Config
		ok     bool
	}{
		"certificate":         {&tls.Config{RootCAs: ours.pool, Certificates: ours.issue()}, true},
		"none":                {&tls.Config{RootCAs: ours.pool}, false},
		"someone else's":      {&tls.Config{RootCAs: ours.pool, Certificates: theirs.issue()}, false},
		"target not verified": {&tls.Config{RootCAs: theirs.pool, Certificates: ours.issue()}, false},
		"in clear":            {nil, false},
	} {
		t.Run(what, func(t *testing.T) {
			cfg := n.config()
			cfg.TLS = c.client
			cfg.Candidates = use(tcp.New(c.client != nil))
			r, err := remote.Connect(t.Context(), cfg)
			if !c.ok {
				if !errors.Is(err, transport.ErrConnLost) {
					t.Errorf("connected: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if !r.Transports()[0].Plan.Encrypted {
				t.Error("the data connections are in clear")
			}
			f := open(t, r, 1)
			if err := read(t.Context(), f, 1, 1, 0, fileSize); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDataConnectionNeedsTLS lets the session come by TLS, and the data in clear.
func TestDataConnectionNeedsTLS(t *testing.T) {
	ours := newAuthority(t)
	n := startNode(t, &tls.Config{Certificates: ours.issue()})
	cfg := n.config()
	cfg.TLS = &tls.Config{RootCAs: ours.pool}
	cfg.Timeout = 2 * time.Second
	cfg.Candidates = use(inClear{tcp.New(false)})
	if _, err := remote.Connect(t.Context(), cfg); !errors.Is(err, transport.ErrConnLost) && !errors.Is(err, transport.ErrProtocol) {
		t.Errorf("a data connection in clear: %v", err)
	}
}
