// Package tcp is the transport that works everywhere: requests go up and payload
// comes down a few TCP connections, optionally under TLS, that all users of a
// link share. Payload is read from the socket straight into memory that the CPU
// can touch; other memory is filled from a host buffer by the memory's own copy.
//
// It owns its connections, on both sides, and what is under way on them. It
// never opens a file, listens, decides which path is taken, or issues a request
// again: one that was on a lost connection fails, and its caller decides.
//
// Small reads whose callers wait for them go by connections of their own, which
// speak the same protocol: see solo.go.
//
// # Protocol
//
// The client sends [Magic], the protocol's version, a session id and a nonce;
// the server answers with a nonce of its own, good for this connection only;
// then each proves by an HMAC over both that it knows the session's secret, the
// client first. After that the client sends request frames, a call's followed by its
// ask, and the server reply headers, each followed by its payload, in any order, but
// for requests that are linked: those are served one after the other. A reply repeats its
// request's id: a slot of the connection, and a generation that is never used
// again on it. A payload is read and checked by the target before its header is
// sent. Each side closes a connection whose peer breaks the framing.
//
// # Locking
//
// The rules of packages lanes and serving hold. solos.mu guards who has which
// connection of solo.go, and is not held over their I/O; the link's own lock may be
// taken under it. A connection of a lane is read by one goroutine, the lane's.
package tcp
