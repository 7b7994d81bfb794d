// Package frame is what transports over byte streams say to each other: requests,
// the headers of replies, and the handshake by which both ends of a connection
// prove that they know a session's secret. All integers are little endian.
//
// It owns no connection and decides nothing about one. It holds no lock.
package frame

import "hbmfs/transport/internal/landing"

// MaxLen is the largest payload of one request, in bytes. Both sides refuse more.
const MaxLen = landing.Largest

// Sizes of the frames that follow the handshake, in bytes.
const (
	// RequestSize: id 8 | handle 8 | version 16 | offset 8 | length 4 | flags 2 | kind 2
	RequestSize = 48
	// ReplySize: id 8 | length 4 | crc32c 4 | status 2 | flags 2 | mark 4
	ReplySize = 24
)

// Kinds of requests.
const (
	kindRead = 1
	// kindCall: length bytes of an ask lie behind the frame; it has no file.
	kindCall = 2
)

const (
	// flagChecksum, in a request: a crc32c is wanted; in a reply: it is there.
	flagChecksum = 1
	// flagLinked, in a request: the next one, a read, begins when this one is answered.
	// The first of such a chain is a call.
	flagLinked = 2
	// flagAnswer, in a reply: what follows is the answer to a call.
	flagAnswer = 2
	// replyMark ends each reply header, so that lost framing shows at once.
	replyMark = 0x52424d48
)

// flags encodes what holds of a frame.
func flags(checksum, second bool) (f uint16) {
	if checksum {
		f = flagChecksum
	}
	if second {
		f |= flagLinked // or flagAnswer
	}
	return f
}
