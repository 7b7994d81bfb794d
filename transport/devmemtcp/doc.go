// Package devmemtcp is the transport by the kernel's device memory TCP: a NIC
// puts the payload of chosen connections into a pool of device memory, while
// headers go to the host as ever, and the device gathers it to where it belongs.
// No byte of payload passes through host memory. Where one did, its result says
// so, or the request fails, as the session wants it.
//
// It owns its connections, on both sides, the receive pool and what is under way
// in it, and has the queues of one NIC by package internal/nic. It never opens a
// file, listens, decides which path is taken, or issues a request again. A
// target needs no special NIC: [Server] is ordinary sockets.
//
// # Protocol
//
// A link is pairs of connections to the target's one port. All that arrives on a
// connection whose packets are steered lands in device memory, framing too. So
// the data connection of a pair carries nothing but payload, from target to
// mount, and the head connection all the rest: requests and what calls ask up, reply
// headers and answers down.
// Each side of a head proves that it knows the session's secret, as package
// frame has it. Then the server sends a ticket, good for once and for a few
// seconds. The client binds a socket to a port, has the NIC steer what comes for
// it, connects it, and sends the one greeting of the data connection: ticket,
// session and an HMAC over both. What becomes of it is said on the head.
//
// Frames are those of package frame. Reply headers come in any order, but for
// requests that are linked, an answer lies right behind its header, and
// payloads lie on the data connection in the order of their headers. A payload
// is read and checked whole before its header is sent; after that, whatever
// fails ends the pair. So does a wrong checksum: in a stream without marks, one
// byte too many or too few shifts all that follows. For the same reason, payload
// that lies there when nothing is owed ends the pair.
//
// # Payload's way
//
// The reader of a pair takes a header, and then that payload by recvmsg, never
// more: so no fragment belongs to two. Control messages say where the bytes are
// (package internal/receive): in the pool, each fragment with a token, or in the buffer that
// was given, with a message (the NIC did not split the packet) or with none (it
// came by another queue, or before the queue was bound). Fragments are gathered
// to the destination on the device, in groups; when that is done, their tokens
// are given back. A pair has a bounded number of groups. With all of them under
// way it does not read, and TCP's window closes.
//
// Nothing but gathering writes to a destination. So once a request's gathers are
// done, nothing can write there any more, whatever a target still sends. While
// gathers run, the data socket stays open, though shut down: the kernel frees a
// socket's tokens with it, and the NIC would then write other payload to the
// memory that is being read.
//
// Checksums are checked where the CPU can read the pool. Where it can't, results
// come without, and a target that sends other bytes than it announced is not
// found out by this package.
//
// # Loans
//
// A link lends payload where the NIC put it, if the transport was given queues
// for that: see package internal/loans. What it shares with fetches, a pair as who
// is sent payload on it has it, is package internal/receive.
//
// # Locking
//
// The rules of packages lanes, serving and internal/loans hold. slot.mu guards why
// a request fails. devmem.mu guards the NIC and the pool, and is held while the NIC
// is set up, checked or given back; the locks of package internal/loans may be
// taken under it. None is held while a completer or a method of a destination is called.
// One goroutine a pair, its lane's, reads; a gather is ended by whoever does the
// device's last copy of it.
//
// # What a NIC must do
//
// Header split, flow steering by n-tuple filters, restarting single queues, and
// receive memory that the CPU can't read. Read in the kernel's sources and in the
// series that added it (titles as on the netdev list), not tried here; which
// release a series went to is by its date where only that was found:
//
//   - any: Linux 6.12 for the sockets and the binding (Documentation/networking/
//     devmem.rst and netmem.rst), with CONFIG_NET_DEVMEM. Drivers that have no
//     queue management, or no unreadable receive memory, refuse the binding.
//     tcp-data-split must be on, hds-thresh 0 where there is one, and no XDP on
//     the queue. Changing ring parameters resets rings: expect a short loss.
//   - bnxt (Broadcom): "eth: bnxt: add support rx side device memory TCP", April
//     2025, for 6.16.
//   - mlx5 (NVIDIA): "net/mlx5e: Add support for devmem and io_uring TCP
//     zero-copy", June 2025, for 6.17. Its split is that of hardware GRO (SHAMPO),
//     so rx-gro-hw must be on. While a queue is bound, packets that could not be
//     split are dropped. All channels pause while one queue restarts.
//   - gve (Google Cloud): "gve: support unreadable netmem", August 2025, for 6.18.
//   - fbnic (Meta): "eth: fbnic: support queue ops / zero-copy Rx", August 2025,
//     for 6.18.
//
// A dma-buf must be mapped for the NIC's device: of a GPU by peer-to-peer PCI,
// which wants both under one root complex or switch, and no IOMMU translation
// between them that the platform can't do.
package devmemtcp
