package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// binaryLimit is how long the tests of one package may run in a part, without
	// their soak: some times what they take on a quiet machine.
	binaryLimit = 15 * time.Minute
	// testLimit is how long, likewise, they may say nothing: a test begins, logs or
	// ends.
	testLimit = 5 * time.Minute
)

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
		name:  "device",
		hbmfs: true,
		runs: []testRun{
			{[]string{"./cache/device"}, ""},
			{[]string{"./integration/lab/tests"}, "^TestDevices"},
		},
		required: []string{
			"TestClientInThisProcess", "TestClientProcess", "TestConformance", "TestDescriptor", "TestDevicesDMABuf", "TestDevicesFetch",
			"TestImportMemfd", "TestImportRefusesMemfd", "TestImportUdmabuf",
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
			"TestLabTransfer", "TestNobodyListens", "TestRDMAAbsent", "TestRDMABufferStaged", "TestRDMABuffers", "TestRDMAClients", "TestRDMADeviceRemoved", "TestRDMADeviceRemovedWhileDown", "TestRDMAFetch",
			"TestRDMALinkDown", "TestRDMAMountKilled", "TestRDMAPlainRead", "TestRDMASoak", "TestRDMATargetKilled",
			"TestRDMATargetStopped", "TestRDMAUnequalMTU", "TestRefusals", "TestServes", "TestServesMessages", "TestTargetRestarts",
		},
	},
	{
		// Of a kernel with delegations: KERNEL=7.3.
		name:  "names",
		named: true,
		hbmfs: true,
		runs: []testRun{
			{[]string{"./remote/server/store/dir"}, "^Test(Conformance|Delegation|Names)"},
			{[]string{"./integration/lab/tests"}, "^TestNames"},
		},
		required: []string{
			"TestConformance", "TestDelegationHolds", "TestDelegationLeavesAlone", "TestDelegationTruncate",
			"TestNamesCostNothing", "TestNamesMountedOver", "TestNamesSeeChanges", "TestNamesSoak",
		},
	},
	{
		name: "devmem-nic",
		runs: []testRun{{[]string{"./transport/devmemtcp/internal/..."}, ""}},
		required: []string{
			"TestLabBadInput", "TestLabBind", "TestLabCheck", "TestLabDown", "TestLabFailure", "TestLabForeignRule", "TestLabGone",
			"TestLabInspect", "TestLabKeepsWhatWasSet", "TestLabKilled", "TestLabKilledAnyTime", "TestLabOpenAfterKill",
			"TestLabOpenAndClose", "TestLabOtherNICs", "TestLabRenamed", "TestLabRulesRunOut", "TestLabSteer", "TestLabTraffic", "TestLayout",
		},
	},
	{
		name: "devmem-links",
		runs: []testRun{{[]string{"./transport/devmemtcp"}, ""}},
		required: []string{
			"TestConformance", "TestConformanceNIC", "TestNICBesideTCP", "TestNICDirect", "TestNICDown", "TestNICLoanRate",
			"TestNICRefusals", "TestNICRuleGone", "TestNICSoak",
		},
	},
	{
		name: "devmem-kernel",
		runs: []testRun{{[]string{"./integration/lab/tests"}, "^TestMemnic"}},
		required: []string{
			"TestMemnicDevmem", "TestMemnicExhausted", "TestMemnicKilled", "TestMemnicLate", "TestMemnicLinkDown",
			"TestMemnicPlain", "TestMemnicPlainRecv", "TestMemnicRefusals", "TestMemnicRemoved", "TestMemnicSteering",
		},
	},
	{
		name:  "devmem-mounts",
		hbmfs: true,
		runs:  []testRun{{[]string{"./integration/lab/tests"}, "^TestDevmem"}},
		required: []string{
			"TestDevmemBuffers", "TestDevmemFetch", "TestDevmemLinkDown", "TestDevmemMountKilled", "TestDevmemPlainRead", "TestDevmemRefused",
			"TestDevmemRemoved", "TestDevmemRuleRemoved", "TestDevmemSoak", "TestDevmemTargetKilled", "TestDevmemUnmounted", "TestDevmemUnsplit",
		},
	},
	{
		name:  "devmem-loans",
		hbmfs: true,
		runs:  []testRun{{[]string{"./integration/lab/tests"}, "^TestLoan"}},
		required: []string{
			"TestLoanBudget", "TestLoanFetch", "TestLoanHolderKilled", "TestLoanKilledOften", "TestLoanLost", "TestLoanMountKilled", "TestLoanSoak",
			"TestLoanUnmounted", "TestLoanUsers",
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

// chosen are the part of a name, or those whose names begin with it and a hyphen;
// for none, all that need not be named.
func chosen(name string) ([]part, error) {
	if name == "" {
		return slices.DeleteFunc(slices.Clone(parts), func(p part) bool { return p.named }), nil
	}
	var names []string
	var found []part
	for _, p := range parts {
		names = append(names, p.name)
		if p.name == name || strings.HasPrefix(p.name, name+"-") {
			found = append(found, p)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: %q; there are %v", errPart, name, names)
	}
	return found, nil
}
