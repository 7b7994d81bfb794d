// Package rdma is the transport in which the NIC puts a payload into place: the
// target writes it by RDMA WRITE straight into registered device memory, over a
// few reliable connections that all users of a link share. Memory that the
// device can't register, and that of plain reads, is filled from a registered
// buffer by the memory's own copy.
//
// It owns a link's connections, what is under way on them, and the registrations of
// memory. It never opens a file, decides which path is taken, or issues a request
// again: one that was on a lost connection fails, and its caller decides. The
// target's half is internal/target, what both say internal/wire.
//
// # Protocol
//
// The connection manager's private data authenticates both sides: see
// setup.go of internal/wire.
// Both then use the smaller of their MTUs, and show that a message of the full
// size passes each way before the connection is up: where it doesn't, the first
// large payload would hang. After that the client sends messages of requests, as many
// as were submitted together and fit. Each names a destination by address and key: of
// a call, which carries what it asks, that is where its answer goes. The target reads
// its storage, or answers, writes the payload, and then writes a record into the
// client's mailbox with the request's tag as immediate data; that order holds on the
// wire. A read that is chained to a call is begun when the call's record is queued. The
// client posts the receive that a record consumes before its request, and a request is
// sent only with a credit, so no receiver is ever not ready.
//
// # What is never written late
//
// A request that failed with its connection completes after the queue pair was
// put into the error state, its work has flushed, and it was destroyed, or all of
// its device was closed: nothing can write the destination any more. That holds for targets that keep to the
// protocol. The key that a request carries is good for the whole of its memory,
// as long as that is attached: a hostile target could write anywhere in memory
// that it was once asked to fill a part of. Mount only targets that may.
//
// # What is said late
//
// A connection tells its peer that it ended only while its port carries that: see
// port.go of internal/hca for why. Until then its identifier outlives it, and the link or server
// that had it.
//
// # Locking
//
// The rules of package lanes hold. The locks of the registrations and of the
// bounce memory may be taken under its lock of a connection. A connection's
// completion queue, and a request that its peer has yet to answer, is the business
// of one goroutine, its lane's.
package rdma
