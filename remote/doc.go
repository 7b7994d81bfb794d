// Package remote is the mount's side of a target: names and attributes of its
// datasets, files open in one version, and reads of them into device memory or
// host buffers.
//
// It owns the control connection and the session with one target, the requests that
// wait for its links, and the recovery of all of these when the target goes away.
// Callers see a [File] live on through that, or turn stale: bytes of another version
// never come in its place. The package never caches a byte, chooses a transport (see
// package links), or knows what mounts are. Names and attributes only package prefetch
// keeps, for half a second.
//
// Links. What goes into a memory waits in the queue of the link that serves it; plain
// reads go by the first device's link, and loans by one that lends. The loss of any is
// the loss of the session: the next one has links of the same transports, and memory is
// attached to them anew.
//
// Vouching. What is open can be vouched for during a term (package term) that
// the target's answers grant; after that [File.Vouch] asks. The target's events
// and its answers to that question come in order, on one stream.
//
// Waiting. Nothing takes longer than [Config.Timeout] because the target is
// away: requests and calls wait that long for it to come back, and then fail
// with an error wrapping [transport.ErrConnLost]. Once the target has been away
// for longer, they wait a fifth of that, until it answers.
//
// Asking. A [File] has one handle for its life, chosen here, and is known by it
// before the target is asked to open it. Opens, stats and closes go by the first
// link, in its queue and mostly before reads; what is too large for that by a gRPC
// call, as do lists, digests, and the session itself.
//
// Keeping. A file that is closed stays open at the target (package closing), and is
// found again by its name and version. Whether the name still leads to that is asked,
// or the caller's to know, or known: the target delegates names of files that are kept,
// if it can, and recalls them before they lead elsewhere. They are believed for a term,
// as versions are.
//
// Locking: each type guards its own state. A session.Current's lock may be taken while
// package links has its locks, or fileTable.mu or queue.mu is held, and a
// links.Session's while queue.mu or the session.Current's is; no other two are held
// together. File.mu guards a file's callback. No lock is held while a request is
// submitted, its completer is called, a callback runs, or a message is sent, but for
// package session's own, by which messages on the stream of events are sent one at a
// time.
package remote
