package tcp

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"hbmfs/transport"
)

// Magic is the first thing that a data connection's client sends. It shares no
// first byte with the HTTP/2 preface, so that one port can carry both.
var Magic = [4]byte{'H', 'B', 'D', 'T'}

// ALPN is the protocol name that a data connection asks for under TLS.
const ALPN = "hbmfs-data"

const protocolVersion = 1

// The handshake, in order. Proofs are HMAC-SHA256 under the session's secret.
const (
	nonceSize = 32
	// client: magic 4 | version 4 | session 16 | nonce 32
	helloSize = 4 + 4 + 16 + nonceSize
	// server: magic 4 | version 4 | nonce 32
	challengeSize = 4 + 4 + nonceSize
	// client: proof 32
	proofSize = sha256.Size
	// server: verdict 4 | proof 32
	verdictSize = 4 + proofSize
)

const (
	verdictRefused  = 0
	verdictAccepted = 1
)

// Labels keep a proof of one side from being one of the other's.
const (
	clientLabel = "hbmfs data client 1"
	serverLabel = "hbmfs data server 1"
)

type nonce [nonceSize]byte

// hello is what a client says first.
type hello struct {
	session transport.SessionID
	nonce   nonce
}

func newNonce() (n nonce) {
	rand.Read(n[:]) // never fails
	return n
}

func appendPreamble(b []byte) []byte {
	b = append(b, Magic[:]...)
	return binary.LittleEndian.AppendUint32(b, protocolVersion)
}

// checkPreamble returns an error wrapping [transport.ErrProtocol] unless b
// starts as the protocol's messages do.
func checkPreamble(b []byte) error {
	if [4]byte(b) != Magic {
		return fmt.Errorf("%w: not a data connection", transport.ErrProtocol)
	}
	if v := binary.LittleEndian.Uint32(b[4:]); v != protocolVersion {
		return fmt.Errorf("%w: peer speaks version %d of the data protocol, this side %d; use the same release on both",
			transport.ErrProtocol, v, protocolVersion)
	}
	return nil
}

func appendHello(b []byte, h hello) []byte {
	b = appendPreamble(b)
	b = append(b, h.session[:]...)
	return append(b, h.nonce[:]...)
}

func parseHello(b *[helloSize]byte) (h hello, err error) {
	if err := checkPreamble(b[:]); err != nil {
		return h, err
	}
	copy(h.session[:], b[8:])
	copy(h.nonce[:], b[24:])
	return h, nil
}

func appendChallenge(b []byte, n nonce) []byte {
	return append(appendPreamble(b), n[:]...)
}

func parseChallenge(b *[challengeSize]byte) (n nonce, err error) {
	if err := checkPreamble(b[:]); err != nil {
		return n, err
	}
	copy(n[:], b[8:])
	return n, nil
}

func appendVerdict(b []byte, verdict uint32, proof []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, verdict)
	return append(b, proof...)
}

// parseVerdict returns the server's proof. The error wraps
// [transport.ErrSession] if it refused.
func parseVerdict(b *[verdictSize]byte) ([]byte, error) {
	switch v := binary.LittleEndian.Uint32(b[:]); v {
	case verdictAccepted:
		return b[4:], nil
	case verdictRefused:
		return nil, fmt.Errorf("%w: the target does not know it, or not by this secret", transport.ErrSession)
	default:
		return nil, fmt.Errorf("%w: verdict %d", transport.ErrProtocol, v)
	}
}

func proof(secret transport.Secret, label string, h hello, server nonce) []byte {
	mac := hmac.New(sha256.New, secret[:])
	_, _ = io.WriteString(mac, label)
	mac.Write(h.nonce[:])
	mac.Write(server[:])
	mac.Write(h.session[:])
	return mac.Sum(nil)
}

// authenticate is the client's side of the handshake. The error wraps
// [transport.ErrSession] if either side could not prove itself, and
// [transport.ErrProtocol] if the peer speaks something else.
func authenticate(c io.ReadWriter, s transport.Session) error {
	h := hello{session: s.ID, nonce: newNonce()}
	if _, err := c.Write(appendHello(nil, h)); err != nil {
		return err
	}
	var cb [challengeSize]byte
	if _, err := io.ReadFull(c, cb[:]); err != nil {
		return err
	}
	server, err := parseChallenge(&cb)
	if err != nil {
		return err
	}
	if _, err := c.Write(proof(s.Secret, clientLabel, h, server)); err != nil {
		return err
	}
	var vb [verdictSize]byte
	if _, err := io.ReadFull(c, vb[:]); err != nil {
		return err
	}
	theirs, err := parseVerdict(&vb)
	if err != nil {
		return err
	}
	if !hmac.Equal(theirs, proof(s.Secret, serverLabel, h, server)) {
		return fmt.Errorf("%w: the target could not prove that it knows the secret", transport.ErrSession)
	}
	return nil
}

// admit is the server's side. It returns the session's source, or an error
// wrapping [transport.ErrSession] or [transport.ErrProtocol]. An unknown session
// is refused as late, and in the same words, as a wrong secret.
func admit(c io.ReadWriter, sessions transport.Sessions) (transport.Source, error) {
	var hb [helloSize]byte
	if _, err := io.ReadFull(c, hb[:]); err != nil {
		return nil, err
	}
	h, err := parseHello(&hb)
	if err != nil {
		if [4]byte(hb[:4]) == Magic {
			_, _ = c.Write(appendChallenge(nil, nonce{})) // tells it our version; it is refused either way
		}
		return nil, err
	}
	server := newNonce()
	if _, err := c.Write(appendChallenge(nil, server)); err != nil {
		return nil, err
	}
	var theirs [proofSize]byte
	if _, err := io.ReadFull(c, theirs[:]); err != nil {
		return nil, err
	}
	secret, source, known := sessions.Session(h.session)
	if !known {
		rand.Read(secret[:]) // nobody can prove this one
	}
	if !hmac.Equal(theirs[:], proof(secret, clientLabel, h, server)) || !known {
		_, _ = c.Write(appendVerdict(nil, verdictRefused, make([]byte, proofSize))) // it is refused either way
		return nil, transport.ErrSession
	}
	_, err = c.Write(appendVerdict(nil, verdictAccepted, proof(secret, serverLabel, h, server)))
	return source, err
}
