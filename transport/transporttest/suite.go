package transporttest

import (
	"testing"

	"hbmfs/transport"
)

// Harness is how the suite gets at one transport.
type Harness struct {
	// Start serves source until the test ends, and returns the transport and a
	// session to dial.
	Start func(t *testing.T, source transport.Source) (transport.Transport, transport.Session)
	// Faulty is like Start, but the peer misbehaves once, at the first reply that
	// carries payload or an answer, as fault says; heal lets go what it holds back.
	// Nil if the transport has no peer that could.
	Faulty func(t *testing.T, source transport.Source, fault Fault) (tr transport.Transport, s transport.Session, heal func())
	// Counted is like Start; messages tells how many with requests have reached the
	// target. Nil if the transport's can't be told apart.
	Counted func(t *testing.T, source transport.Source) (tr transport.Transport, s transport.Session, messages func() int)
	// Lend is like Start, for a transport whose links are [transport.Lender]s; the
	// CPU can address the memory that it lends. Nil if they are not.
	Lend func(t *testing.T, source transport.Source) (transport.Transport, transport.Session)
	// Checksums says that the transport carries them if a session asks.
	Checksums bool
}

// Fault is what a peer does wrong.
type Fault int

const (
	// FaultStall: it never answers.
	FaultStall Fault = iota
	// FaultStallPayload: it stops in the middle of a payload.
	FaultStallPayload
	// FaultLength: it announces, and sends, less than was asked for, or a longer
	// answer than there can be.
	FaultLength
	// FaultStatus: it answers with a status that there is none of.
	FaultStatus
	// FaultUnknown: it answers what nobody asked.
	FaultUnknown
	// FaultChecksum: a bit of the payload is not what was sent.
	FaultChecksum
	// FaultDie: it dies in the middle of a payload.
	FaultDie
)

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, Harness)
	}{
		{"Plan", testPlan},
		{"Sizes", testSizes},
		{"Unaligned", testUnaligned},
		{"Cold", testCold},
		{"SourceErrors", testSourceErrors},
		{"BadRequests", testBadRequests},
		{"Concurrent", testConcurrent},
		{"Credits", testCredits},
		{"WalkAway", testWalkAway},
		{"Stats", testStats},
		{"Checksums", testChecksums},
		{"Device", testDevice},
		{"DeviceRevoked", testDeviceRevoked},
		{"DeviceSlow", testDeviceSlow},
		{"Attach", testAttach},
		{"Read", testRead},
		{"ReadErrors", testReadErrors},
		{"ReadConcurrent", testReadConcurrent},
		{"ReadCanceled", testReadCanceled},
		{"ReadStalls", testReadStalls},
		{"ReadClosed", testReadClosed},
		{"CloseBusy", testCloseBusy},
		{"UseAfterClose", testUseAfterClose},
		{"WrongSecret", testWrongSecret},
		{"Faults", testFaults},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, h) })
	}
	t.Run("Calls", func(t *testing.T) { runCalls(t, h) })
	if h.Lend != nil {
		t.Run("Loans", func(t *testing.T) { runLoans(t, h) })
	}
}
