// Package remote is the mount's side of a target: names and attributes of its
// datasets, files open in one version, and reads of them into device memory or
// host buffers.
//
// It owns the control connection and the session with one target, the link that
// carries payload, the requests that wait for it, and the recovery of all three
// when the target goes away. Callers see a [File] live on through that, or turn
// stale: bytes of another version never come in its place. The package never
// caches a byte, chooses a transport, or knows what mounts are. Names and
// attributes it keeps for [MaxAge] at most, when a target listed them ahead of a
// walk.
//
// Waiting. Nothing takes longer than [Config.Timeout] because the target is
// away: requests and calls wait that long for it to come back, and then fail
// with an error wrapping [transport.ErrConnLost].
//
// Locking: Target.mu guards the session, the files and the queue of requests;
// Target.attaching, taken before it, orders attachments with new links. File.mu
// guards a file's callback and is taken last, as is walks.mu, which guards what
// came ahead. No lock is held while a request is submitted, its Done is called, a
// callback runs, or a message is sent; but session.sending is, for messages on
// the stream of events, one of which may be sent at a time.
package remote
