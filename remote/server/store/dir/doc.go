// Package dir is the store of directories, regular files and read-only block
// devices of this host.
//
// It owns their descriptors, the read leases on them, and the delegations of
// names; package breaks is told of broken ones. It never follows a symbolic link for a client,
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
// Names. A name is delegated (fcntl F_SETDELEG, from Linux 6.19 on) by a delegation of
// the file and of each directory from the tree's root to it, a descriptor for each,
// shared by all names beneath. The kernel holds whoever writes to the file, makes,
// removes or renames an entry of one of the directories, makes or removes another link
// to the file, or changes owner, mode, times or extended attributes of any of them,
// until the holders have let go. These changes it does not hold:
//
//   - What is mounted over a part of the way. It is found by mountinfo, at once but
//     afterwards; what lies behind a mount already is not delegated.
//   - Flags of the file (chattr), which leave bytes, owner and mode, but change the
//     version. They are found within a second.
//   - What does not go by this kernel's names: subvolumes of btrfs, layers of an overlay,
//     other hosts' writes. Only names in file systems without these are delegated.
//
// A delegation is none of the open file's lease: F_SETDELEG on a leased descriptor
// succeeds and delegates nothing, so a file that is delegated has a second one. Those in
// the kernel who don't wait for delegations fail with EAGAIN until the holders have let
// go: open(O_RDONLY|O_TRUNC), which so is noticed at once, bind of a Unix socket, and
// changes by an overlay above the tree, ecryptfs or ksmbd. What was changed is not
// delegated again for a while.
//
// Locking: the fields of a type are guarded by the mutex above them. The order
// is files, then lease watch, then open file; names are taken with none of these held.
// No lock is held while a file is read or a holder is told.
package dir
