package devmemtcp

import (
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"fmt"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
)

// What a client sends first on each kind of connection. They share no first byte
// with the HTTP/2 preface, so that one port can carry all.
var (
	HeadMagic = [4]byte{'H', 'B', 'D', 'H'}
	DataMagic = [4]byte{'H', 'B', 'D', 'P'}
)

const protocolVersion = 2

var headShake = frame.Handshake{
	Magic:   HeadMagic,
	Version: protocolVersion,
	What:    "devmem-tcp head connection",
	Client:  "hbmfs devmem-tcp client 2",
	Server:  "hbmfs devmem-tcp server 2",
}

var dataShake = frame.Handshake{
	Magic:   DataMagic,
	Version: protocolVersion,
	What:    "devmem-tcp data connection",
	Client:  "hbmfs devmem-tcp data client 2",
}

const (
	ticketSize = 32
	// magic 4 | version 4 | session 16 | ticket 32 | proof 32
	greetingSize = 4 + 4 + 16 + ticketSize + frame.ProofSize
	// pairing 4
	pairingSize = 4
)

// ticket ties a data connection to the head that it was given on.
type ticket [ticketSize]byte

// greeting is all that a client ever sends on a data connection.
type greeting struct {
	session transport.SessionID
	ticket  ticket
	proof   [frame.ProofSize]byte
}

func newGreeting(s transport.Session, t ticket) greeting {
	return greeting{s.ID, t, [frame.ProofSize]byte(greetingProof(s.Secret, s.ID, t))}
}

func greetingProof(secret transport.Secret, id transport.SessionID, t ticket) []byte {
	return frame.Prove(secret, dataShake.Client, id[:], t[:])
}

// proven reports whether who made g knows secret.
func (g greeting) proven(secret transport.Secret) bool {
	return hmac.Equal(g.proof[:], greetingProof(secret, g.session, g.ticket))
}

func (g greeting) append(b []byte) []byte {
	b = dataShake.AppendPreamble(b)
	b = append(b, g.session[:]...)
	b = append(b, g.ticket[:]...)
	return append(b, g.proof[:]...)
}

// parseGreeting returns an error wrapping [transport.ErrProtocol] if b is none.
func parseGreeting(b *[greetingSize]byte) (g greeting, err error) {
	if err := dataShake.CheckPreamble(b[:]); err != nil {
		return g, err
	}
	copy(g.session[:], b[8:])
	copy(g.ticket[:], b[24:])
	copy(g.proof[:], b[24+ticketSize:])
	return g, nil
}

// pairing is what became of a data connection, said on its head.
type pairing uint32

const (
	paired pairing = iota + 1
	pairedLate
	pairedUnproven
	pairingEnd
)

var pairingErrors = [pairingEnd]error{
	pairedLate: errors.New("no data connection came in time: its packets may be lost on the way to the target," +
		" or a proxy stands before it, which device memory TCP can't pass"),
	pairedUnproven: fmt.Errorf("%w: the data connection did not prove that it knows the secret", transport.ErrSession),
}

func (p pairing) encode() []byte { return binary.LittleEndian.AppendUint32(nil, uint32(p)) }

// parsePairing returns nil if the data connection was accepted, and otherwise
// why not.
func parsePairing(b *[pairingSize]byte) error {
	p := pairing(binary.LittleEndian.Uint32(b[:]))
	if p == 0 || p >= pairingEnd {
		return fmt.Errorf("%w: pairing %d", transport.ErrProtocol, p)
	}
	return pairingErrors[p]
}
