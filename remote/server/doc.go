// Package server is the storage node's side of hbmfs: it serves the names,
// attributes and bytes of stores to mounts.
//
// It owns the sessions, what they have open, and until when their mounts may vouch
// for it. Payload leaves through the data-plane servers of package transport,
// which read it from a session by way of [transport.Sessions]; nothing but control
// messages leaves from here. The package knows no path, descriptor or inode of this
// host: that is a store's ([store.Store]).
//
// Exports. A session serves the trees that its exports led to when it began. When
// one leads elsewhere, or nowhere, the sessions that have the dataset end, and their
// mounts open new ones.
//
// Versions are the store's. Before one changes, the store tells who has it open,
// and holds whoever changes it until every mount that has it open has acknowledged,
// or can't vouch for it any more because its term has passed (package term). A
// session that ends gives its files up only then.
//
// Names are delegated by stores that can. A mount that looks again for a file that it
// keeps open wants its name delegated; before that leads elsewhere, the mount is told,
// and whoever changes it waits, as for a version. Handles that are recalled together
// share an event.
//
// What is small is asked on the data plane (package wire, Ask), or by gRPC where it
// does not fit: one function answers both. Handles are the mount's to choose. An
// open whose answer nobody will have leaves nothing open, and one that comes late
// leaves alone what a later attempt opened: the mount vouches for that.
//
// A session lasts as long as its events stream. One whose mount lets its term
// pass without acknowledging an event is ended, and its client's next sessions
// have no term before they have acknowledged something: so it holds writers once
// only.
//
// Locking: the fields of a type are guarded by the mutex above them. The order
// is server, then session, then what the store locks, then outbox. No lock is held
// while a file is read or a message is sent, but for openFile.naming: it is held while a
// name is looked up, and nobody waits for it.
package server
