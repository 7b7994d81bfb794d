package remote_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"hbmfs/remote"
	"hbmfs/transport"
)

// answering is a server that sends greeting to whoever connects, and then ends
// the connection, or waits for the client to.
func answering(t *testing.T, greeting string, wait bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.WriteString(conn, greeting)
				if wait || greeting != "" {
					_, _ = io.Copy(io.Discard, conn)
				}
			}()
		}
	}()
	return l.Addr().String()
}

// grpcWords are of gRPC's own vocabulary, or Go's, that no user should read.
var grpcWords = []string{
	"rpc error", "code =", "desc =", "context deadline exceeded", "transport is closing", "error while dial",
	"error reading server preface", "http2", "frame", "stream", "grpc", "RST",
}

// refused connects, which must fail with an error that says why, in our words.
func refused(t *testing.T, what string, cfg remote.Config, why string) {
	t.Helper()
	began := time.Now()
	r, err := remote.Connect(t.Context(), cfg)
	if err == nil {
		r.Close()
		t.Errorf("%s: connected", what)
		return
	}
	text := err.Error()
	if !strings.Contains(text, why) || !strings.Contains(text, cfg.Addr) {
		t.Errorf("%s: %v; want %q, and the address", what, err, why)
	}
	for _, word := range grpcWords {
		if strings.Contains(strings.ToLower(text), strings.ToLower(word)) {
			t.Errorf("%s: %v: has %q", what, err, word)
		}
	}
	if took := time.Since(began); took > cfg.Timeout+time.Second {
		t.Errorf("%s: told after %v", what, took)
	}
}

// TestStrangers: what listens at the port is no target.
func TestStrangers(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	web2 := httptest.NewUnstartedServer(http.NotFoundHandler())
	web2.Config.Protocols = new(http.Protocols)
	web2.Config.Protocols.SetUnencryptedHTTP2(true)
	web2.Start()
	defer web2.Close()
	unused := answeringNothing(t)
	for what, c := range map[string]struct{ addr, why string }{
		"nothing listens": {unused, "connection refused: nothing listens there"},
		"silence":         {answering(t, "", true), "said nothing"},
		"hangs up":        {answering(t, "", false), "is it an hbmfs target"},
		"SSH":             {answering(t, "SSH-2.0-OpenSSH_9.2p1\r\n", true), `no hbmfs target: it began with "SSH-2.0-"`},
		"HTTP":            {web.Listener.Addr().String(), `no hbmfs target: it began with "HTTP/1.1"`},
		"HTTP/2":          {web2.Listener.Addr().String(), "does not answer as an hbmfs target"},
		"control bytes":   {answering(t, "\x1b[2J\x1b]0;x\a", true), `no hbmfs target: it began with "\x1b[2J`},
	} {
		cfg := remote.Config{Addr: c.addr, Timeout: 5 * time.Second}
		refused(t, what, cfg, c.why)
	}
}

// answeringNothing is an address at which nothing listens.
func answeringNothing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestTLSMistakes: one end uses TLS and the other does not, or shows a certificate
// that the other does not take.
func TestTLSMistakes(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	target := &tls.Config{Certificates: ours.issue(), ClientCAs: ours.pool, ClientAuth: tls.RequireAndVerifyClientCert}
	for what, c := range map[string]struct {
		server, client *tls.Config
		why            string
	}{
		"only the target":  {target, nil, "it uses TLS, and this mount does not"},
		"only the mount":   {nil, &tls.Config{RootCAs: ours.pool, Certificates: ours.issue()}, "as a target without TLS does"},
		"another target":   {target, &tls.Config{RootCAs: theirs.pool, Certificates: ours.issue()}, "unknown authority"},
		"another name":     {target, &tls.Config{RootCAs: ours.pool, Certificates: ours.issue(), ServerName: "node7"}, "node7"},
		"no certificate":   {target, &tls.Config{RootCAs: ours.pool}, "does not accept this mount's certificate"},
		"another mount's":  {target, &tls.Config{RootCAs: ours.pool, Certificates: theirs.issue()}, "does not accept this mount's certificate"},
		"an older version": {target, &tls.Config{RootCAs: ours.pool, Certificates: ours.issue(), MaxVersion: tls.VersionTLS11}, "TLS: "},
	} {
		cfg := startNode(t, c.server).config()
		cfg.TLS, cfg.Timeout = c.client, 5*time.Second
		refused(t, what, cfg, c.why)
	}
}

// TestUnreachableIsLost: what can't be reached may be tried again.
func TestUnreachableIsLost(t *testing.T) {
	_, err := remote.Connect(context.Background(), remote.Config{Addr: answeringNothing(t), Timeout: 5 * time.Second})
	if !errors.Is(err, transport.ErrConnLost) {
		t.Errorf("%v", err)
	}
}
