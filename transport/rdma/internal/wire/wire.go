// Package wire is what the two sides of an RDMA connection say to each other: the
// set-up, which the connection manager carries as private data and which proves
// that both know the session's secret; the client's first message; messages of
// requests, and the records that end them. Package rdma has the protocol in words.
//
// It owns the layout of each message and refuses what no honest peer sends. It
// does no I/O, keeps nothing, and has no lock.
package wire

import (
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/internal/liveness"
)

// Name is the transport's, on both sides.
const Name = "rdma"

// SetUpTimeout is how long a connection request may take to become a connection
// that is proved to carry large messages, on both sides.
const SetUpTimeout = liveness.Handshake / 2

// MaxLen is the largest payload of one request, in bytes. Both sides refuse more.
const MaxLen = landing.Largest

// Depth is the credits of one connection: how many requests may be under way on
// it. The mailbox has one slot more, for the record that ends the set-up.
const Depth = 32

// magic is what each message of the set-up starts with.
var magic = [4]byte{'H', 'B', 'R', 'D'}

const protocolVersion = 2

// Tag names a use of a slot: a record and its immediate repeat the request's.
type Tag uint32

// generations is how many uses of a slot have tags of their own.
const generations = 1 << 24

// NewTag is the tag of a slot's use.
func NewTag(slot int, generation uint32) Tag { return Tag(generation%generations<<8 | uint32(slot)) }

// Slot is which slot a tag is of: any byte's value, from a peer.
func (t Tag) Slot() int { return int(t & 0xff) }
