package transport

import "errors"

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
