// Package receive is what fetches and loans over device memory TCP share: a pair
// of connections as who is sent payload on it has it. It reads reply headers from
// the one, and payload from the other, and says where the NIC put it: the kernel
// tells that by control messages ([control]), with a token for each fragment that
// it keeps the NIC off until the token is given back.
//
// It owns a pair's connections, its flow rule, and the host memory for payload
// that did not land in device memory. It never connects, and decides nothing about
// what came.
//
// # Locking
//
// It holds no lock. [Pair.Reply], [Pair.Receive] and [Pair.Await] are called by one
// goroutine at a time, [Pair.Send] by another; [Pair.GiveBack], [Pair.Hurry] and
// [Pair.Shutdown] by any, until Close.
package receive
