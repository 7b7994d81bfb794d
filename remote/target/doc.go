// Package target is the storage node's side of hbmfs: it exports directories,
// files and read-only block devices, and serves their names, attributes and
// bytes to mounts.
//
// It owns the exports, the files that sessions have open with the read leases on
// them, and the sessions themselves. Payload leaves through the data-plane
// servers of package transport, which read it from a session by way of
// [transport.Sessions]; nothing but control messages leaves from here. The
// package never follows a symbolic link for a client, never writes to an
// export, and never reads a byte that it does not check against the version
// that was asked for afterwards.
//
// Versions. A [transport.Version] names a state of a file: device, inode,
// generation, birth time, size, modification and change time. That alone does
// not tell two contents apart while someone writes, so an open file is held
// under a read lease: writers wait, for a bounded time, until every mount that
// has the file open was told. A file that can't be leased is served unsettled,
// with the reason; so is one of a file system that has writers which break no
// lease: only local ones that are known not to are trusted.
//
// Two changes are noticed by the next read, or within a second, without a writer
// that waits: a truncation by open(O_RDONLY|O_TRUNC), and writes to a block
// device that was made writable for a while. Writes below a block device, to
// the disk that it is a partition of or to a loop device's file, are not.
//
// A session lasts as long as its events stream. One whose mount does not
// acknowledge an event in time is ended, so that it holds writers once only.
//
// Locking: the fields of a type are guarded by the mutex above them. The order
// is session, then file table, then lease watch, then open file, then outbox.
// No lock is held while a file is read or a message is sent.
package target
