// Package links is by which transports a target is reached: the links of each session
// with it ([Session]), and which of them serves each memory of the mount ([Memories]).
//
// A session has a link for each transport that serves a memory best: those that the
// devices of the mount take from the start, and another when memory comes that takes it.
// Which transport that is [transport.Selection] decides. This package submits no
// request and makes no session: it says where requests go, and what a session that
// follows another has to have.
//
// Locking: Memories.mu orders attachments with new sessions, and is held while a link
// attaches memory, or is dialled for it. Session.mu comes after it, and no lock is
// taken with it held.
package links
