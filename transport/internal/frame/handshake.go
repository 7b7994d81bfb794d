package frame

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"hbmfs/transport"
	"hbmfs/transport/printable"
)

// Handshake is the one of a kind of connection. In order:
//
//	client: magic 4 | version 4 | session 16 | nonce 32
//	server: magic 4 | version 4 | nonce 32
//	client: proof 32
//	server: verdict 4 | proof 32 [| length 2 | why not, as text]
//
// Proofs are HMAC-SHA256 under the session's secret, over a label that keeps a
// proof of one side, or of one kind of connection, from being another's.
type Handshake struct {
	Magic          [4]byte
	Version        uint32
	What           string // names the kind of connection, for errors
	Client, Server string // labels
}

const (
	nonceSize     = 32
	helloSize     = 4 + 4 + 16 + nonceSize
	challengeSize = 4 + 4 + nonceSize
	// ProofSize is of an HMAC, in bytes.
	ProofSize   = sha256.Size
	verdictSize = 4 + ProofSize
)

const (
	verdictRefused  = 0
	verdictAccepted = 1
	verdictCrowded  = 2 // known, but a limit is reached; the text says which
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

// AppendPreamble appends the magic and the version.
func (k Handshake) AppendPreamble(b []byte) []byte {
	b = append(b, k.Magic[:]...)
	return binary.LittleEndian.AppendUint32(b, k.Version)
}

// CheckPreamble returns an error wrapping [transport.ErrProtocol] unless b, of 8
// bytes at least, starts as AppendPreamble says.
func (k Handshake) CheckPreamble(b []byte) error {
	if [4]byte(b) != k.Magic {
		return fmt.Errorf("%w: not a %s", transport.ErrProtocol, k.What)
	}
	if v := binary.LittleEndian.Uint32(b[4:]); v != k.Version {
		return fmt.Errorf("%w: peer speaks version %d of the %s's protocol, this side %d; use the same release on both",
			transport.ErrProtocol, v, k.What, k.Version)
	}
	return nil
}

func (k Handshake) appendHello(b []byte, h hello) []byte {
	b = k.AppendPreamble(b)
	b = append(b, h.session[:]...)
	return append(b, h.nonce[:]...)
}

func (k Handshake) parseHello(b *[helloSize]byte) (h hello, err error) {
	if err := k.CheckPreamble(b[:]); err != nil {
		return h, err
	}
	copy(h.session[:], b[8:])
	copy(h.nonce[:], b[24:])
	return h, nil
}

func (k Handshake) appendChallenge(b []byte, n nonce) []byte {
	return append(k.AppendPreamble(b), n[:]...)
}

func (k Handshake) parseChallenge(b *[challengeSize]byte) (n nonce, err error) {
	if err := k.CheckPreamble(b[:]); err != nil {
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
func parseVerdict(b *[verdictSize]byte) (proof []byte, crowded bool, err error) {
	switch v := binary.LittleEndian.Uint32(b[:]); v {
	case verdictAccepted, verdictCrowded:
		return b[4:], v == verdictCrowded, nil
	case verdictRefused:
		return nil, false, fmt.Errorf("%w: the target does not know it, or not by this secret", transport.ErrSession)
	default:
		return nil, false, fmt.Errorf("%w: verdict %d", transport.ErrProtocol, v)
	}
}

// appendWhy appends the text that goes with [verdictCrowded].
func appendWhy(b []byte, why error) []byte {
	text := printable.Cut(why.Error(), printable.MaxText)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(text)))
	return append(b, text...)
}

// readWhy returns what appendWhy was given; it wraps [transport.ErrConnLost], as
// another time may do better.
func readWhy(r io.Reader) error {
	var n [2]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return err
	}
	text := make([]byte, binary.LittleEndian.Uint16(n[:]))
	if _, err := io.ReadFull(r, text); err != nil {
		return err
	}
	return fmt.Errorf("%w: the target refused it: %s", transport.ErrConnLost, printable.Line(string(text), printable.MaxText))
}

// Prove is the HMAC under secret of label and parts. Parts must be of fixed
// sizes.
func Prove(secret transport.Secret, label string, parts ...[]byte) []byte {
	mac := hmac.New(sha256.New, secret[:])
	_, _ = io.WriteString(mac, label)
	for _, p := range parts {
		mac.Write(p)
	}
	return mac.Sum(nil)
}

func (h hello) proof(secret transport.Secret, label string, server nonce) []byte {
	return Prove(secret, label, h.nonce[:], server[:], h.session[:])
}

// Authenticate is the client's side. The error wraps [transport.ErrSession] if
// either side could not prove itself, [transport.ErrConnLost] if a limit of the
// target's is reached, and [transport.ErrProtocol] if the peer speaks something
// else.
func (k Handshake) Authenticate(c io.ReadWriter, s transport.Session) error {
	h := hello{session: s.ID, nonce: newNonce()}
	if _, err := c.Write(k.appendHello(nil, h)); err != nil {
		return err
	}
	var cb [challengeSize]byte
	if _, err := io.ReadFull(c, cb[:]); err != nil {
		return err
	}
	server, err := k.parseChallenge(&cb)
	if err != nil {
		return err
	}
	if _, err := c.Write(h.proof(s.Secret, k.Client, server)); err != nil {
		return err
	}
	var vb [verdictSize]byte
	if _, err := io.ReadFull(c, vb[:]); err != nil {
		return err
	}
	theirs, crowded, err := parseVerdict(&vb)
	if err != nil {
		return err
	}
	if !hmac.Equal(theirs, h.proof(s.Secret, k.Server, server)) {
		return fmt.Errorf("%w: the target could not prove that it knows the secret", transport.ErrSession)
	}
	if crowded {
		return readWhy(c)
	}
	return nil
}

// Admitted is a session that a client proved.
type Admitted struct {
	ID transport.SessionID
	transport.Admission
}

// Admit is the server's side. The error wraps [transport.ErrSession] or
// [transport.ErrProtocol], or is enter's, which may refuse who has proved himself.
// An unknown session is refused as late, and in the same words, as a wrong secret.
func (k Handshake) Admit(c io.ReadWriter, sessions transport.Sessions, enter func(transport.Admission) error) (Admitted, error) {
	var hb [helloSize]byte
	if _, err := io.ReadFull(c, hb[:]); err != nil {
		return Admitted{}, err
	}
	h, err := k.parseHello(&hb)
	if err != nil {
		if [4]byte(hb[:4]) == k.Magic {
			_, _ = c.Write(k.appendChallenge(nil, nonce{})) // tells it our version; it is refused either way
		}
		return Admitted{}, err
	}
	server := newNonce()
	if _, err := c.Write(k.appendChallenge(nil, server)); err != nil {
		return Admitted{}, err
	}
	var theirs [ProofSize]byte
	if _, err := io.ReadFull(c, theirs[:]); err != nil {
		return Admitted{}, err
	}
	who, known := sessions.Session(h.session)
	if !known {
		rand.Read(who.Secret[:]) // nobody can prove this one
	}
	if !hmac.Equal(theirs[:], h.proof(who.Secret, k.Client, server)) || !known {
		_, _ = c.Write(appendVerdict(nil, verdictRefused, make([]byte, ProofSize))) // it is refused either way
		return Admitted{}, transport.ErrSession
	}
	proof := h.proof(who.Secret, k.Server, server)
	if err := enter(who); err != nil {
		_, _ = c.Write(appendWhy(appendVerdict(nil, verdictCrowded, proof), err)) // it is refused either way
		return Admitted{}, err
	}
	_, err = c.Write(appendVerdict(nil, verdictAccepted, proof))
	return Admitted{h.session, who}, err
}
