// Package nic changes a network interface so that the payload of chosen TCP
// connections lands in a dma-buf, and puts back what it changed.
//
// It owns the settings that [Open] changes (TCP header split and its threshold,
// the RSS indirection table, the n-tuple feature), the flow rules, and the
// bindings of dma-bufs to receive queues. Each change is recorded in a file
// before it is made, so that [Restore] can undo it after the process was killed.
// Bindings need no record: the kernel drops them with their netlink socket.
//
// It never touches a connection's data, changes the number of queues or the size
// of a ring, or starts a goroutine.
//
// One process at a time has a NIC, by a lock on a file of the state directory;
// the kernel drops the lock with the process. The lock belongs to the network
// namespace and the interface index that the NIC was found under. What is put
// back goes by the device behind it, wherever in this namespace its interface is
// by then; a NIC that is in another namespace is left as it is.
//
// Locking: a mutex of each NIC orders all changes, and is held over the kernel's
// calls. These are for set-up only: no transfer waits for them.
package nic
