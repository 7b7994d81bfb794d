// Package transporttest is what every transport must do, as one suite ([Run]),
// and the fakes that it takes: a storage whose every word names its place
// ([Source]), a table of sessions, memory that the CPU can't touch ([FakeDevice]),
// and links that lend ([FakeLender]). Other packages' tests use the fakes too,
// and those of transports over sockets the rest of a target ([Listen], [Cutter]).
//
// It knows no transport: what can't be said through the interface, such as how
// a peer misbehaves, a transport's own test provides in its [Harness].
//
// Locking: each fake guards itself with one mutex and calls nothing while it
// holds it; a lending link also gets and gives back memory under its own.
package transporttest
