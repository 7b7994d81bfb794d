// Package mounts is what the commands know of the mounts of this host: what is
// mounted where, which process serves it, and how it is taken away. It never
// touches an hbmfs mount itself, whose daemon may be stuck: where the kernel has
// to be asked about one, a process of its own asks, and may be left behind.
//
// It decides nothing for a user and prints nothing. It holds no lock.
package mounts
