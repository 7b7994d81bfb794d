// Package dir is the store of directories, regular files and read-only block
// devices of this host.
//
// It owns their descriptors, the read leases on them and the thread that the
// kernel tells of broken ones. It never follows a symbolic link for a client,
// never writes, never opens what has effects, and never gives a byte that it does
// not check against the version that was asked for afterwards.
//
// Exports. A [Store] is a path, and its tree what the path led to when it was
// looked at. Follow looks again, on its own, since that may block.
//
// Versions. A [transport.Version] names a state of a file: device, inode,
// generation, birth time, size, modification and change time. That alone does
// not tell two contents apart while someone writes, so an open file is held
// under a read lease: writers wait until its holders have let go. A file that
// can't be leased is served unsettled, with the reason; so is one of a file
// system that has writers which break no lease: only local ones that are known
// not to are trusted.
//
// Two changes are noticed by the next read, or within a second, without a writer
// that waits: a truncation by open(O_RDONLY|O_TRUNC), and writes to a block
// device that was made writable for a while. Writes below a block device, to
// the disk that it is a partition of or to a loop device's file, are not.
//
// Locking: the fields of a type are guarded by the mutex above them. The order
// is files, then lease watch, then open file. No lock is held while a file is
// read or a holder is told.
package dir
