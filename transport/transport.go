// Package transport moves extents of remote files into registered device
// memory. It declares what the rooms above and below agree on: the memory that
// bytes land in ([Memory]), the connections to one target ([Link]), the target's
// own side ([Source], [Sessions], [Plane]), and the choice of a path ([Selection]). The
// transports themselves are the packages beneath this one, and each of them
// passes the suite in transporttest.
//
// This package never opens a file, keeps no cache and knows no name of a
// dataset. A transport never decides to fall back: it says what it can do in
// [Plan], what it did in [Result], and the choice for a memory is made in one place,
// [Selection.Choose].
//
// Locking: a Link takes its own locks and never calls a [Completer] with one
// held. A Selection's is not held while a transport is asked.
package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"time"

	"hbmfs/fs/uapi"
)

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

// Request asks for Dst.Len bytes of a file, from Off: a read; or, if it has a Call,
// that and nothing else. The destination is exact: a read either fills all of it or
// fails. The caller owns the Request and must leave it, its destination and its Call
// alone until its Completion.
type Request struct {
	File FileRef
	Off  int64
	Dst  Span
	Call *Call
	// Chained has the target begin with a read once it has answered the latest call
	// before it in the same Submit, such as the one that opens its file. Without one
	// it means nothing. Which of them is told of first is not said.
	Chained bool
	// To is told exactly once how the request ended: when nothing can write Dst any
	// more and, if there is no error, when the device sees all of it.
	To Completer
	// Tag is of To's own.
	Tag any
}

// MaxCall is the largest ask, and the largest answer, of a call, in bytes.
const MaxCall = 1024

// Call is a small question to the session's [Source]: what it means is theirs who
// ask and answer. Many that are asked together share a message each way.
type Call struct {
	// Ask is what is asked: 1 to [MaxCall] bytes.
	Ask []byte
	// Answer is where the answer goes: it has a capacity of [MaxCall] at least, and
	// the answer's length if the request succeeded.
	Answer []byte
}

// Result says how a request ended and which way its bytes came. Why is the link's own
// reason, or [uapi.WhyBest]: why it is the one that serves the memory it does not know.
type Result struct {
	Err  error
	Path uapi.Path
	Why  uapi.Reason
	// HostCopies and DeviceCopies count how often the payload was copied on
	// this host after it left the network or the source.
	HostCopies, DeviceCopies uint8
	// CRC is the payload's crc32c, checked on arrival if HasCRC is set.
	CRC    uint32
	HasCRC bool
}

// Completion is the end of a request.
type Completion struct {
	*Request
	Result
}

// Completer is told of requests that ended. It must be comparable.
type Completer interface {
	// Complete takes completions of requests that name it, as many as ended
	// together. It may run on a goroutine of a link's, and must not block. The slice
	// is its own to change until it returns; the requests are from then on.
	Complete(done []Completion)
}

// Complete tells the completers of requests that ended, each once for those that
// follow one another. No lock may be held. The slice's content is lost.
func Complete(done []Completion) {
	for len(done) > 0 {
		to, n := done[0].To, 1
		for n < len(done) && done[n].To == to {
			n++
		}
		to.Complete(done[:n])
		done = done[n:]
	}
}

// Plan is what a transport can do for one memory.
type Plan struct {
	Path uapi.Path
	Why  uapi.Reason
	// MaxLen is the largest request, in bytes; Align what offset and length in
	// memory must be multiples of.
	MaxLen, Align int64
	// Batch is how many small requests share a message each way, at most.
	Batch int
	// Encrypted says whether payload is encrypted between the hosts.
	Encrypted bool
}

// Transport is one way to reach targets. One that keeps something of the host
// between its links is an [io.Closer] too: its owner closes it after them.
type Transport interface {
	// Name is what --transport calls it.
	Name() string
	// Plan probes, without a link, whether and how bytes get into mem; once there
	// is one, [Attachment.Plan] tells. The error wraps [ErrUnavailable] and says
	// which need failed and what to do.
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
	// per memory; a request into memory that was not attached fails.
	Attach(ctx context.Context, mem Memory) (Attachment, error)
	// Submit starts requests, in order, and never blocks. It returns how many
	// it took: fewer than all, without an error, means that the link is out of
	// credits and other requests are under way, or that a chained read could not go
	// along with its call; a credit is back whenever a request has ended. Requests that were not taken stay the caller's. The
	// error wraps [ErrClosed], [ErrSession] or [ErrConnLost] and is about the
	// first request that was not taken.
	Submit(reqs []*Request) (accepted int, err error)
	// Read brings n bytes of a file, from off, into host memory: a plain read. n is
	// at least 1, and at most a request's. It blocks, also while there is no
	// credit, and returns within 100 ms of ctx's end. Without an error the caller
	// releases the buffer; with one there is none, and a transfer that is still
	// under way keeps its own. The error is ctx's, or as a request's or Submit's; it
	// wraps [ErrStalled] after twice the session's time-out.
	Read(ctx context.Context, file FileRef, off int64, n int) (Buffer, Result)
	// Stats returns the link's counters.
	Stats() LinkStats
	// Close ends the connections and returns after every [Completer] was told.
	Close() error
}

// Buffer is host memory of a link's, with what a plain read brought. It may outlive
// the link.
type Buffer interface {
	// Bytes is what was read, good until Release.
	Bytes() []byte
	// Release gives the memory back. It must be called once.
	Release()
}

// Attachment is a memory's registration with a link.
type Attachment interface {
	// Plan says how the link gets bytes into the memory, as it is now. Each Result
	// says how its own came.
	Plan() Plan
	// Close undoes it. No request into the memory may be under way.
	Close() error
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
	// TryRead is Read of what is in memory. Where that is not all of it, it
	// returns [ErrWouldBlock] at once, and dst's content is undefined.
	TryRead(file FileRef, off int64, dst []byte) error
	// Read fills all of dst with the file's bytes from off, and returns nil
	// only if they are bytes of that version. It waits for storage until ctx
	// ends, as it does with the connection that asks. Errors wrap [ErrStale],
	// [ErrRange], [ErrSource], [ErrUnknownFile] or ctx's. Nothing writes to dst
	// once it has returned.
	Read(ctx context.Context, file FileRef, off int64, dst []byte) error
	// Call answers an ask in dst, which has room for [MaxCall] bytes, and returns how
	// long the answer is. That a question has no good answer is for the answer to
	// say: an error is about the call itself, and wraps [ErrSource] or ctx's. Neither
	// slice is used once it has returned.
	Call(ctx context.Context, ask, dst []byte) (n int, err error)
}

// ErrWouldBlock is what [Source.TryRead] answers where bytes are not in memory.
var ErrWouldBlock = errors.New("source would block")

// Sessions lets a data-plane server look up who connects.
type Sessions interface {
	// Session returns a live session.
	Session(id SessionID) (Admission, bool)
}

// Admission is what a data plane has of a session that it serves.
type Admission struct {
	Secret Secret
	Source Source
	// Client is whose session it is, for limits: see package limits.
	Client string
}
