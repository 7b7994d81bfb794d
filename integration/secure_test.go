package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
	"hbmfs/transport/tcp"
)

// authority issues certificates into a directory.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.issue("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// issue writes NAME.pem and NAME.key.
func (a *authority) issue(name string, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(a.t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	must(a.t, err)
	c.SerialNumber, c.Subject = serial, pkix.Name{CommonName: name}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	issuer, issuerKey := a.cert, a.key
	if issuer == nil {
		issuer, issuerKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, issuer, &key.PublicKey, issuerKey)
	must(a.t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(a.t, err)
	a.write(name+".pem", "CERTIFICATE", der)
	a.write(name+".key", "PRIVATE KEY", private)
	cert, err := x509.ParseCertificate(der)
	must(a.t, err)
	return cert, key
}

func (a *authority) write(name, kind string, der []byte) {
	a.t.Helper()
	must(a.t, os.WriteFile(filepath.Join(a.dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

// flags issues a certificate and returns the flags for an end that shows it and
// trusts ca.
func (a *authority) flags(name string, usage x509.ExtKeyUsage, ca *authority) []string {
	a.t.Helper()
	a.issue(name, &x509.Certificate{
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{usage},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	})
	path := filepath.Join(a.dir, name)
	return []string{"--tls-cert", path + ".pem", "--tls-key", path + ".key", "--tls-ca", filepath.Join(ca.dir, "ca.pem")}
}

// TestTLS: with certificates, both ways work and everything says that it is
// encrypted; without the right ones, nothing does.
func TestTLS(t *testing.T) {
	const size = 8<<20 + 5
	ours, foreign := newAuthority(t), newAuthority(t)
	src := t.TempDir()
	writeTagged(t, filepath.Join(src, "f"), 1, 1, size)
	serve := append([]string{"serve", "--listen", "0.0.0.0:0", "data=" + src}, ours.flags("target", x509.ExtKeyUsageServerAuth, ours)...)
	target := start(t, exec.Command(bin, serve...))
	line := target.line("serving ")
	source := "127.0.0.1" + line[strings.LastIndex(line, ":"):] + "/data"

	good := ours.flags("mount", x509.ExtKeyUsageClientAuth, ours)
	m := startMount(t, source, good...)
	checkTagged(t, fetchAll(t, m.path("f"), 0, size), 1, 1, 0)
	b, err := os.ReadFile(m.path("f"))
	checkWhole(t, outcome{bytes: b, err: err}, 1, size)
	checkEncrypted(t, m)

	for name, flags := range map[string][]string{
		"no TLS":                        nil,
		"a foreign certificate":         foreign.flags("mount", x509.ExtKeyUsageClientAuth, ours),
		"a certificate for a target":    ours.flags("other", x509.ExtKeyUsageServerAuth, ours),
		"another idea of who may serve": ours.flags("third", x509.ExtKeyUsageClientAuth, foreign),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			checkRefused(t, exec.Command(bin, append([]string{"mount", source, dir}, flags...)...), exitFailure, "127.0.0.1")
			checkGone(t, dir)
		})
	}
	t.Run("a target without TLS", func(t *testing.T) {
		_, addr := startTarget(t, "127.0.0.1:0", "data="+src)
		dir := t.TempDir()
		checkRefused(t, exec.Command(bin, append([]string{"mount", addr + "/data", dir}, good...)...), exitFailure, "127.0.0.1")
		checkGone(t, dir)
	})
}

func checkEncrypted(t *testing.T, m *mount) {
	t.Helper()
	for _, tr := range m.stats().Transports {
		if tr.Chosen != (tr.Name == "tcp") || tr.Chosen && !tr.Encrypted {
			t.Errorf("stat: %+v", tr)
		}
	}
	c, err := client.OpenMount(m.dir)
	must(t, err)
	defer c.Close()
	info, err := c.Info()
	must(t, err)
	for _, tr := range info.Transports {
		if tr.Chosen != (tr.Name == "tcp") || tr.Chosen && !tr.Encrypted {
			t.Errorf("INFO: %+v", tr)
		}
	}
}

// TestGuessedSession: who connects to the data port without a session's secret
// gets a challenge and a refusal, and not a byte of a file.
func TestGuessedSession(t *testing.T) {
	src := t.TempDir()
	writeTagged(t, filepath.Join(src, "f"), 1, 1, 4096)
	_, addr := startTarget(t, "127.0.0.1:0", "data="+src)
	m := startMount(t, addr+"/data") // so that there is a session to guess
	f := mustOpen(t, m.path("f"), os.O_RDONLY)
	defer f.Close()

	c, err := net.Dial("tcp", addr)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(slack)))
	guess := make([]byte, 16+32+32+48) // session, nonce, proof, and a request
	_, err = rand.Read(guess)
	must(t, err)
	hello := binary.LittleEndian.AppendUint32(tcp.Magic[:], 1)
	_, err = c.Write(append(hello, guess...))
	must(t, err)
	got, err := io.ReadAll(c)
	if err != nil && !errors.Is(err, unix.ECONNRESET) {
		t.Fatalf("the connection did not end: %v", err)
	}
	const challenge, verdict = 4 + 4 + 32, 4 + 32
	if len(got) > challenge+verdict {
		t.Fatalf("%d bytes came, want a challenge and a refusal: % x", len(got), got)
	}
	if len(got) == challenge+verdict && binary.LittleEndian.Uint32(got[challenge:]) != 0 {
		t.Errorf("a guess was accepted: % x", got[challenge:])
	}
}
