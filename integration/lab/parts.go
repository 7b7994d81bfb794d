package main

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// partLimit is how long the tests of a part may run, without its soak.
const partLimit = 15 * time.Minute

// errPart says that no part has a name.
var errPart = errors.New("no such part")

// part is some tests that a pair of guests is booted for.
type part struct {
	name string
	runs []testRun
	// named says that the part runs only if it is asked for by name.
	named bool
	// hbmfs says that the tests run the program hbmfs, named by HBMFS_BIN.
	hbmfs bool
	// required are tests that must run and pass. Others may skip, saying
	// "unsupported: " and why.
	required []string
}

// testRun is the tests of packages that match a pattern; an empty pattern
// means all.
type testRun struct {
	packages []string
	pattern  string
}

// parts are run in this order.
var parts = []part{
	{
		name: "boot",
		runs: []testRun{{[]string{"./integration/lab/tests"}, "^TestBoot"}},
		required: []string{
			"TestBootDMABuf", "TestBootMTU", "TestBootPeer", "TestBootRDMADevices", "TestBootReadOnly", "TestBootWriteBW",
		},
	},
	{
		name: "device",
		runs: []testRun{{[]string{"./cache/device"}, ""}},
		required: []string{
			"TestClientInThisProcess", "TestClientProcess", "TestRegionProperties",
			"TestUdmabufIsTheMemfd", "TestUdmabufOverLimit", "TestUdmabufSizeIsExact",
		},
	},
	{
		name:  "rdma",
		hbmfs: true,
		runs: []testRun{
			{[]string{"./transport/rdma/..."}, ""},
			{[]string{"./integration/lab/tests"}, "^TestRDMA"},
		},
		required: []string{
			"TestBadClients", "TestBadHello", "TestClientDies", "TestClientFallsSilent", "TestConformance", "TestDirect", "TestLabDMABuf", "TestLabRemoval",
			"TestLabTransfer", "TestNobodyListens", "TestRDMAAbsent", "TestRDMAClients", "TestRDMADeviceRemoved", "TestRDMADeviceRemovedWhileDown", "TestRDMAFetch",
			"TestRDMALinkDown", "TestRDMAMountKilled", "TestRDMAPlainRead", "TestRDMASoak", "TestRDMATargetKilled",
			"TestRDMATargetStopped", "TestRDMAUnequalMTU", "TestRefusals", "TestServes", "TestTargetRestarts",
		},
	},
	{
		name:  "devmem",
		hbmfs: true,
		runs: []testRun{
			{[]string{"./transport/devmemtcp/..."}, ""},
			{[]string{"./integration/lab/tests"}, "^Test(Memnic|Devmem|Loan)"},
		},
		required: []string{
			"TestConformance", "TestConformanceNIC", "TestDevmemFetch", "TestDevmemLinkDown", "TestDevmemMountKilled", "TestDevmemPlainRead", "TestDevmemRefused",
			"TestDevmemRemoved", "TestDevmemRuleRemoved", "TestDevmemSoak", "TestDevmemTargetKilled", "TestDevmemUnmounted", "TestDevmemUnsplit",
			"TestLabBadInput", "TestLabBind", "TestLabCheck", "TestLabDown", "TestLabFailure", "TestLabForeignRule", "TestLabGone",
			"TestLabInspect", "TestLabKeepsWhatWasSet", "TestLabKilled", "TestLabKilledAnyTime", "TestLabOpenAfterKill",
			"TestLabOpenAndClose", "TestLabOtherNICs", "TestLabRenamed", "TestLabRulesRunOut", "TestLabSteer", "TestLabTraffic", "TestLayout",
			"TestNICBesideTCP", "TestNICDirect", "TestNICDown", "TestNICRefusals", "TestNICRuleGone", "TestNICSoak",
			"TestLoanBudget", "TestLoanFetch", "TestLoanHolderKilled", "TestLoanKilledOften", "TestLoanLost", "TestLoanMountKilled", "TestLoanSoak",
			"TestLoanUnmounted", "TestLoanUsers", "TestNICLoanRate",
			"TestMemnicDevmem", "TestMemnicExhausted", "TestMemnicKilled", "TestMemnicLate", "TestMemnicLinkDown",
			"TestMemnicPlain", "TestMemnicPlainRecv", "TestMemnicRefusals", "TestMemnicRemoved", "TestMemnicSteering",
		},
	},
	{
		name:     "speed",
		named:    true,
		runs:     []testRun{{[]string{"./integration/lab/tests"}, "^TestSpeed"}},
		required: []string{"TestSpeedCalls", "TestSpeedDevmem", "TestSpeedRDMA", "TestSpeedTCP"},
		hbmfs:    true,
	},
}

// testEnv is what tests find set in a guest.
var testEnv = []string{
	"HBMFS_LAB=1",
	"HBMFS_RDMA_ADDR=10.78.0.1", // of rxe1, which reaches itself
}

// chosen are the parts of a name; for none, all that need not be named.
func chosen(name string) ([]part, error) {
	if name == "" {
		return slices.DeleteFunc(slices.Clone(parts), func(p part) bool { return p.named }), nil
	}
	i := slices.IndexFunc(parts, func(p part) bool { return p.name == name })
	if i < 0 {
		var names []string
		for _, p := range parts {
			names = append(names, p.name)
		}
		return nil, fmt.Errorf("%w: %q; there are %v", errPart, name, names)
	}
	return parts[i : i+1], nil
}
