package frame

import (
	"errors"
	"io"
	"net"
	"slices"
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

// exchange runs the client's side against a server that answers each message
// that it reads, of the given sizes, with an answer.
func exchange(t *testing.T, s transport.Session, sizes []int, answers ...[]byte) error {
	t.Helper()
	client, server := net.Pipe()
	defer client.Close()
	go func() {
		defer server.Close()
		for i, answer := range answers {
			if _, err := io.ReadFull(server, make([]byte, sizes[i])); err != nil {
				return
			}
			server.Write(answer)
		}
	}()
	return testShake.Authenticate(client, s)
}

func TestAuthenticateRefuses(t *testing.T) {
	sizes := []int{helloSize, ProofSize}
	challenge := testShake.appendChallenge(nil, newNonce())
	version := slices.Clone(challenge)
	version[4]++
	zero := make([]byte, ProofSize)
	for _, c := range []struct {
		what    string
		answers [][]byte
		want    error
	}{
		{"an HTTP server", [][]byte{slices.Repeat([]byte("HTTP/1.1 400 "), 4)}, transport.ErrProtocol},
		{"another version", [][]byte{version}, transport.ErrProtocol},
		{"an impostor", [][]byte{challenge, appendVerdict(nil, verdictAccepted, zero)}, transport.ErrSession},
		{"a refusal", [][]byte{challenge, appendVerdict(nil, verdictRefused, zero)}, transport.ErrSession},
		{"no verdict there is", [][]byte{challenge, appendVerdict(nil, 7, zero)}, transport.ErrProtocol},
		{"a crowd by an impostor", [][]byte{challenge, appendWhy(appendVerdict(nil, verdictCrowded, zero), io.EOF)}, transport.ErrSession},
		{"an early end", [][]byte{challenge[:9]}, io.ErrUnexpectedEOF},
	} {
		if err := exchange(t, transport.Session{}, sizes, c.answers...); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// TestImpostorEchoes has a server send the client's own proof back.
func TestImpostorEchoes(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	go func() {
		defer server.Close()
		io.ReadFull(server, make([]byte, helloSize))
		server.Write(testShake.appendChallenge(nil, newNonce()))
		theirs := make([]byte, ProofSize)
		io.ReadFull(server, theirs)
		server.Write(appendVerdict(nil, verdictAccepted, theirs))
	}()
	if err := testShake.Authenticate(client, transport.Session{}); !errors.Is(err, transport.ErrSession) {
		t.Errorf("accepted its own proof: %v", err)
	}
}

// TestReplay sends what one client sent again, on another connection.
func TestReplay(t *testing.T) {
	sessions := transporttest.NewSessions()
	s := sessions.Open(transporttest.NewSource())
	client, server := net.Pipe()
	admitted := make(chan error, 1)
	var sent []byte
	go func() {
		_, err := testShake.Admit(recorder{server, &sent}, sessions, anyone)
		admitted <- err
	}()
	if err := errors.Join(testShake.Authenticate(client, s), <-admitted); err != nil {
		t.Fatal(err)
	}
	client, server = net.Pipe()
	defer client.Close()
	go func() {
		client.Write(sent[:helloSize])
		io.ReadFull(client, make([]byte, challengeSize))
		client.Write(sent[helloSize:])
		io.Copy(io.Discard, client)
	}()
	if _, err := testShake.Admit(server, sessions, anyone); !errors.Is(err, transport.ErrSession) {
		t.Errorf("a replay: %v", err)
	}
	server.Close()
}

// recorder keeps what is read.
type recorder struct {
	net.Conn
	read *[]byte
}

func (r recorder) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	*r.read = append(*r.read, b[:n]...)
	return n, err
}

// TestVersionIsTold has a client of another version learn the server's.
func TestVersionIsTold(t *testing.T) {
	client, server := net.Pipe()
	go func() {
		testShake.Admit(server, transporttest.NewSessions(), anyone)
		server.Close()
	}()
	hello := testShake.appendHello(nil, hello{})
	hello[4]++
	client.Write(hello)
	var answer [challengeSize]byte
	if _, err := io.ReadFull(client, answer[:]); err != nil {
		t.Fatal(err)
	}
	if err := testShake.CheckPreamble(answer[:]); err != nil {
		t.Error(err)
	}
}
