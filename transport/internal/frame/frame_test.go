package frame

import (
	"errors"
	"net"
	"strings"
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

// anyone may enter.
func anyone(transport.Admission) error { return nil }

// shake has both sides of a handshake meet.
func shake(client, server Handshake, s transport.Session, sessions transport.Sessions, enter func(transport.Admission) error) (Admitted, error, error) {
	a, b := net.Pipe()
	defer a.Close()
	failed := make(chan error, 1)
	go func() {
		defer b.Close()
		failed <- client.Authenticate(b, s)
	}()
	who, err := server.Admit(a, sessions, enter)
	a.Close()
	return who, err, <-failed
}

func TestHandshake(t *testing.T) {
	sessions, source := transporttest.NewSessions(), transporttest.NewSource()
	s := sessions.Open(source)
	who, serr, cerr := shake(testShake, testShake, s, sessions, anyone)
	if serr != nil || cerr != nil || who != (Admitted{s.ID, transport.Admission{Secret: s.Secret, Source: source, Client: "client"}}) {
		t.Errorf("%+v, %v, %v", who, serr, cerr)
	}
	wrong, unknown := s, s
	wrong.Secret[0] ^= 1
	unknown.ID[0] ^= 1
	for _, s := range []transport.Session{wrong, unknown} {
		if _, serr, cerr := shake(testShake, testShake, s, sessions, anyone); !errors.Is(serr, transport.ErrSession) || !errors.Is(cerr, transport.ErrSession) {
			t.Errorf("%v, %v", serr, cerr)
		}
	}
	newer := testShake
	newer.Version++
	if _, serr, cerr := shake(newer, testShake, s, sessions, anyone); !errors.Is(serr, transport.ErrProtocol) || !errors.Is(cerr, transport.ErrProtocol) {
		t.Errorf("another version: %v, %v", serr, cerr)
	}
	relabelled := testShake
	relabelled.Client = "clients"
	if _, serr, _ := shake(relabelled, testShake, s, sessions, anyone); !errors.Is(serr, transport.ErrSession) {
		t.Errorf("a proof for another kind of connection: %v", serr)
	}
}

// TestCrowd: who is refused for a limit is told which, by a target that has proved
// itself, and may come again.
func TestCrowd(t *testing.T) {
	sessions := transporttest.NewSessions()
	s := sessions.Open(transporttest.NewSource())
	full := errors.New("too many\x1b connections")
	_, serr, cerr := shake(testShake, testShake, s, sessions, func(who transport.Admission) error {
		if who.Client != "client" {
			t.Errorf("client %q", who.Client)
		}
		return full
	})
	if serr != full || !errors.Is(cerr, transport.ErrConnLost) || errors.Is(cerr, transport.ErrSession) {
		t.Errorf("%v, %v", serr, cerr)
	}
	if text := cerr.Error(); !strings.Contains(text, "too many") || strings.Contains(text, "\x1b") {
		t.Errorf("the client was told %q", text)
	}
}
