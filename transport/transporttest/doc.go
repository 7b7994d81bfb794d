// Package transporttest is what every transport must do, as one suite ([Run]),
// and the fakes that it takes: a storage whose every word names its place
// ([Source]), a table of sessions, and memory that the CPU can't touch
// ([FakeDevice]). Other packages' tests use the fakes too.
//
// It knows no transport: what can't be said through the interface, such as how
// a peer misbehaves, a transport's own test provides in its [Harness].
//
// Locking: each fake guards itself with one mutex and calls nothing while it
// holds it.
package transporttest
