package frame

import (
	"errors"
	"net"
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

// shake has both sides of a handshake meet.
func shake(client, server Handshake, s transport.Session, sessions transport.Sessions) (Admitted, error, error) {
	a, b := net.Pipe()
	defer a.Close()
	failed := make(chan error, 1)
	go func() {
		defer b.Close()
		failed <- client.Authenticate(b, s)
	}()
	who, err := server.Admit(a, sessions)
	a.Close()
	return who, err, <-failed
}

func TestHandshake(t *testing.T) {
	sessions, source := transporttest.NewSessions(), transporttest.NewSource()
	s := sessions.Open(source)
	who, serr, cerr := shake(testShake, testShake, s, sessions)
	if serr != nil || cerr != nil || who != (Admitted{s.ID, s.Secret, source}) {
		t.Errorf("%+v, %v, %v", who, serr, cerr)
	}
	wrong, unknown := s, s
	wrong.Secret[0] ^= 1
	unknown.ID[0] ^= 1
	for _, s := range []transport.Session{wrong, unknown} {
		if _, serr, cerr := shake(testShake, testShake, s, sessions); !errors.Is(serr, transport.ErrSession) || !errors.Is(cerr, transport.ErrSession) {
			t.Errorf("%v, %v", serr, cerr)
		}
	}
	newer := testShake
	newer.Version++
	if _, serr, cerr := shake(newer, testShake, s, sessions); !errors.Is(serr, transport.ErrProtocol) || !errors.Is(cerr, transport.ErrProtocol) {
		t.Errorf("another version: %v, %v", serr, cerr)
	}
	relabelled := testShake
	relabelled.Client = "clients"
	if _, serr, _ := shake(relabelled, testShake, s, sessions); !errors.Is(serr, transport.ErrSession) {
		t.Errorf("a proof for another kind of connection: %v", serr)
	}
}
