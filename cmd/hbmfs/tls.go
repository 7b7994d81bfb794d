package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/spf13/pflag"
)

// plaintextUsage is of a flag that both ends have.
const plaintextUsage = "with TLS, allow transports that carry payload in clear (rdma)"

// tlsFiles names the PEM files of one end. Both ends prove who they are, so
// either all three are given or none.
type tlsFiles struct{ cert, key, ca string }

func (t *tlsFiles) register(flags *pflag.FlagSet) {
	flags.StringVar(&t.cert, "tls-cert", "", "PEM `file` with this end's certificate")
	flags.StringVar(&t.key, "tls-key", "", "PEM `file` with its private key")
	flags.StringVar(&t.ca, "tls-ca", "", "PEM `file` with the authorities that the other end's certificate must come from")
}

// config is of either end: a target's clients must show a certificate too. It is
// nil if no file was named.
func (t tlsFiles) config() (*tls.Config, error) {
	if t == (tlsFiles{}) {
		return nil, nil
	}
	if t.cert == "" || t.key == "" || t.ca == "" {
		return nil, usagef("--tls-cert, --tls-key and --tls-ca go together: both ends show a certificate")
	}
	cert, err := tls.LoadX509KeyPair(t.cert, t.key)
	if err != nil {
		return nil, fmt.Errorf("load --tls-cert %s and --tls-key %s: %w", t.cert, t.key, err)
	}
	pem, err := os.ReadFile(t.ca)
	if err != nil {
		return nil, fmt.Errorf("load --tls-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("load --tls-ca %s: no certificate in it; it must be PEM", t.ca)
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		RootCAs:      pool,
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
	}, nil
}
