// Package transport moves extents of remote files into registered device
// memory. It declares what the rooms above and below agree on: the memory that
// bytes land in ([Memory]), the connections to one target ([Link]), the target's
// own side ([Source], [Sessions]), and the choice of a path ([Select]). The
// transports themselves are the packages beneath this one, and each of them
// passes the suite in transporttest.
//
// This package never opens a file, keeps no cache and knows no name of a
// dataset. A transport never decides to fall back: it says what it can do in
// [Plan], what it did in [Result], and the choice is made once, in [Select].
//
// Locking: a Link takes its own locks and never calls [Request.Done] with one
// held. Done may run on a goroutine of the link: it must not block.
package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"time"
)

// Errors that a transport reports. Each is wrapped with what failed, and on what.
var (
	// ErrStale: the file is no longer the version that was asked for.
	ErrStale = errors.New("file changed")
	// ErrRange: the request goes past the end of the file's version, or its
	// destination past the end of its memory.
	ErrRange = errors.New("range outside of the file or its memory")
	// ErrSource: the target could not read its storage.
	ErrSource = errors.New("target could not read its storage")
	// ErrUnknownFile: the target does not know the file handle. It was closed,
	// or the session it belonged to is gone.
	ErrUnknownFile = errors.New("unknown file handle")
	// ErrConnLost: the connection that carried the request ended before the
	// answer. The request may be issued again.
	ErrConnLost = errors.New("connection lost")
	// ErrStalled: the peer neither answered nor failed within the session's
	// time-out. It wraps ErrConnLost, since the connection was given up.
	ErrStalled = errors.New("peer stalled")
	// ErrSession: the target refused the session's credentials. A new session
	// is needed; the link is of no more use.
	ErrSession = errors.New("session refused")
	// ErrProtocol: the peer broke the framing or lied about a length. Its
	// connection is closed.
	ErrProtocol = errors.New("peer broke the protocol")
	// ErrChecksum: the bytes that arrived are not the bytes that were sent.
	ErrChecksum = errors.New("checksum mismatch")
	// ErrRevoked: the destination's memory was revoked by its owner.
	ErrRevoked = errors.New("memory revoked")
	// ErrClosed: the link was closed.
	ErrClosed = errors.New("link closed")
	// ErrNotDirect: bytes passed through host memory, and the session refuses
	// that.
	ErrNotDirect = errors.New("bytes did not go directly into device memory")
	// ErrUnavailable: a transport cannot be used with this memory on this host.
	ErrUnavailable = errors.New("transport unavailable")
)

// Domain is who may see a memory's bytes: one user's, on one device. Memory,
// cached extents and leases never cross domains.
type Domain struct{ UID, Device uint32 }

// Memory is one region of registered device memory. The CPU may be unable to
// touch it.
type Memory interface {
	Domain() Domain
	// Size is in bytes.
	Size() int64
	// DMABuf returns a borrowed dma-buf descriptor of the region and the offset
	// of the region's first byte in it; ok is false where there is none.
	DMABuf() (fd int, off int64, ok bool)
	// Bytes is the CPU's view of the region; nil where the CPU has none.
	Bytes() []byte
	// CopyIn copies src to the region's offset dst, possibly asynchronously;
	// src must stay untouched until done is called, which happens once.
	CopyIn(dst int64, src []byte, done func(error))
	// Gather copies spans, in order, to the region's offset dst on the device,
	// possibly asynchronously; done is called once.
	Gather(dst int64, src []Span, done func(error))
	// Visible calls done once the device sees all that peers wrote before the
	// call. For CPU memory that is at once.
	Visible(done func(error))
	// Revoked is closed when the owner has taken the memory back.
	Revoked() <-chan struct{}
}

// Span is a part of a memory. Off and Len are in bytes.
type Span struct {
	Mem      Memory
	Off, Len int64
}

// Check returns an error wrapping [ErrRange] if s lies outside of its memory.
func (s Span) Check() error {
	if s.Mem == nil || s.Off < 0 || s.Len < 0 || s.Off > s.Mem.Size()-s.Len {
		return ErrRange
	}
	return nil
}

// Version names the content of a file on its target: two files, or one file
// before and after a change, never have the same. The target makes it from the
// device, inode, generation, birth time, size and change times.
type Version [16]byte

// FileRef names one version of a file that is open at a target. Handle belongs
// to the session that opened it.
type FileRef struct {
	Handle  uint64
	Version Version
}

// Request asks for Dst.Len bytes of a file, from Off. The destination is exact:
// a request either fills all of it or fails. The caller owns the Request and
// must leave it and its destination alone until Done.
type Request struct {
	File FileRef
	Off  int64
	Dst  Span
	// Done is called exactly once, when nothing can write Dst any more and, if
	// there is no error, when the device sees all of it.
	Done func(Result)
}

// Result says how a request ended and which way its bytes came.
type Result struct {
	Err  error
	Path Path
	Why  Reason
	// HostCopies and DeviceCopies count how often the payload was copied on
	// this host after it left the network or the source.
	HostCopies, DeviceCopies uint8
	// CRC is the payload's crc32c, checked on arrival if HasCRC is set.
	CRC    uint32
	HasCRC bool
}

// Plan is what a transport can do for one memory.
type Plan struct {
	Path Path
	Why  Reason
	// MaxLen is the largest request, in bytes; Align what offset and length in
	// memory must be multiples of.
	MaxLen, Align int64
	// Encrypted says whether payload is encrypted between the hosts.
	Encrypted bool
}

// Transport is one way to reach targets. One that keeps something of the host
// between its links is an [io.Closer] too: its owner closes it after them.
type Transport interface {
	// Name is what --transport calls it.
	Name() string
	// Plan probes whether and how bytes get into mem. The error wraps
	// [ErrUnavailable] and says which need failed and what to do.
	Plan(mem Memory) (Plan, error)
	// Dial sets up the shared connections to one target. It returns an error
	// wrapping [ErrSession] if the target refuses the session, or
	// [ErrConnLost] if it can't be reached.
	Dial(ctx context.Context, s Session) (Link, error)
}

// Link is the shared connections to one target. All methods may be called
// concurrently.
type Link interface {
	// Attach prepares mem as a destination (registration, pinned rings). Once
	// per memory; a request into device memory that was not attached fails.
	// [HostMemory] needs no attachment.
	Attach(ctx context.Context, mem Memory) (Attachment, error)
	// Submit starts requests, in order, and never blocks. It returns how many
	// it took: fewer than all, without an error, means that the link is out of
	// credits and other requests are under way; a credit is back whenever one
	// of them is Done. Requests that were not taken stay the caller's. The
	// error wraps [ErrClosed], [ErrSession] or [ErrConnLost] and is about the
	// first request that was not taken.
	Submit(reqs []*Request) (accepted int, err error)
	// Stats returns the link's counters.
	Stats() LinkStats
	// Close ends the connections and returns after every Done.
	Close() error
}

// Exchanger is an optional power of a [Link]: a small read by a caller that has
// nothing to do but wait for it. It costs less than a request, since no one else
// has to be woken.
type Exchanger interface {
	// Exchange reads len(dst) bytes of a file, from off, on the caller's
	// goroutine, which blocks in the kernel for it. It reports false where it
	// can't, or something went wrong: then the same is to be submitted as a
	// request. Otherwise the result is as a request's; its error is ctx's, or
	// wraps [ErrStalled]. Nothing writes dst afterwards in any case.
	Exchange(ctx context.Context, file FileRef, off int64, dst []byte) (Result, bool)
}

// Attachment is a memory's registration with a link.
type Attachment interface {
	// Close undoes it. No request into the memory may be under way.
	Close() error
}

// LinkStats counts what a link did since it was dialled.
type LinkStats struct {
	Connections int   `json:"connections"` // up now
	Lost        int64 `json:"lost"`        // connections that ended, but for those that Close did
	Reconnects  int64 `json:"reconnects"`  // connections that took their places
	Waits       int64 `json:"waits"`       // times that a request found no credit, and so had to wait
	Requests    int64 `json:"requests"`    // requests that ended
	Errors      int64 `json:"errors"`      // of those, the ones that failed
	Bytes       int64 `json:"bytes"`       // payload that arrived
	InFlight    int64 `json:"in_flight"`   // requests under way

	Registrations RegistrationStats `json:"registrations"`
	Devmem        DevmemStats       `json:"devmem"`
}

// DevmemStats counts what a NIC put into a pool of device memory, and what it
// did not; all zero for transports without such a pool.
type DevmemStats struct {
	DeviceBytes int64 `json:"device_bytes"` // payload that landed in device memory
	HostBytes   int64 `json:"host_bytes"`   // that came by another queue, or before the queue was bound
	LinearBytes int64 `json:"linear_bytes"` // that the NIC did not split from its headers
	Fragments   int64 `json:"fragments"`    // pieces of device memory that held it
	Recvmsgs    int64 `json:"recvmsgs"`     // system calls to receive
	TokenCalls  int64 `json:"token_calls"`  // system calls to give fragments back
	Tokens      int64 `json:"tokens"`       // fragments not given back yet, also those lent by links that are closed
}

// RegistrationStats counts what a link did to let a device write into attached
// memory; all zero where that needs no registration.
type RegistrationStats struct {
	Hits      int64 `json:"hits"`      // requests that found their memory registered
	Misses    int64 `json:"misses"`    // registrations made
	Evictions int64 `json:"evictions"` // registrations undone
	Bytes     int64 `json:"bytes"`     // registered now
	// How the latest was made: "dma-buf", "cpu-mapping" or "".
	How string `json:"how"`
}

// SessionID names an authenticated session between a mount and a target.
type SessionID [16]byte

// Secret is the key that both ends of a session prove to know.
type Secret [32]byte

// Session is what a mount needs to open data connections to a target.
type Session struct {
	Addr   string // host:port of the target's listener
	ID     SessionID
	Secret Secret
	// TLS, if not nil, is used on data connections that can carry it.
	TLS *tls.Config
	// Connections is how many connections all requests share; at least 1.
	Connections int
	// Checksums asks for a crc32c with every payload, checked on arrival.
	Checksums bool
	// Why is the reason that [Select] gave for the path. A link repeats it in
	// each Result that it has no reason of its own for.
	Why Reason
	// Timeout is how long a peer may make no progress while requests are
	// under way before its connection is given up.
	Timeout time.Duration
	// RequireDirect makes payload that a direct path let pass through host memory
	// an error, wrapping [ErrNotDirect], where the destination is device memory.
	RequireDirect bool
}

// Source is the target's side of a session: where its data plane gets bytes.
// Each session has its own, comparable by ==. Methods may be called concurrently.
type Source interface {
	// Read fills all of dst with the file's bytes from off, and returns nil
	// only if they are bytes of that version. If wait is false and the bytes
	// are not in memory, it returns [ErrWouldBlock] at once and dst's content
	// is undefined. Errors wrap [ErrStale], [ErrRange], [ErrSource] or
	// [ErrUnknownFile].
	Read(file FileRef, off int64, dst []byte, wait bool) error
}

// ErrWouldBlock is what a [Source] answers when it was asked not to wait.
var ErrWouldBlock = errors.New("source would block")

// Sessions lets a data-plane server look up who connects.
type Sessions interface {
	// Session returns the secret and source of a live session.
	Session(id SessionID) (Secret, Source, bool)
}
