package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"hbmfs/cache/device"
	"hbmfs/transport"
	"hbmfs/transport/devmemtcp"
)

const devmemRemedy = "use --transport auto or tcp; for devmem-tcp: Linux 6.12 or later with CONFIG_NET_DEVMEM, /dev/udmabuf, and a NIC with header split, queue management and flow steering, which the rows of 'nic' are about"

// usualPairs is for how many connections doctor reckons a receive pool: the
// default of --connections.
const usualPairs = 4

// nicChecks are a row for each NIC that does DMA, and one for each thing that
// devmem-tcp needs of it.
func nicChecks() []check {
	if knowsDevmemTCP() != nil {
		return nil
	}
	nics, err := inspectNICs()
	if err != nil {
		return []check{{"nic", "all", false, func() (string, error) { return "", err }, "run as root"}}
	}
	var all []check
	for _, n := range nics {
		all = append(all, check{"nic", n.Name, false, func() (string, error) { return describeNIC(n) }, ""})
		for _, need := range needs(n) {
			remedy := cmp.Or(need.Remedy, "see the rows above of "+n.Name)
			all = append(all, check{"nic", n.Name + " " + need.name, false, need.answer, remedy})
		}
	}
	return all
}

func inspectNICs() ([]devmemtcp.NIC, error) {
	var mem transport.Memory
	if p, err := device.Open("udmabuf"); err == nil {
		if region, err := p.Alloc(transport.Domain{}, probeExtent); err == nil {
			defer region.Close()
			mem = region
		}
	}
	return devmemtcp.Inspect(mem)
}

type namedNeed struct {
	name string
	devmemtcp.Need
}

func needs(n devmemtcp.NIC) []namedNeed {
	return []namedNeed{
		{"header split", n.Split},
		{"hds-thresh", n.HDSThresh},
		{"flow steering", n.FlowSteering},
		{"RSS table", n.RSS},
		{"free queue", n.FreeQueue},
		{"bind-rx", n.Bind},
	}
}

func (n namedNeed) answer() (string, error) {
	if !n.OK {
		return "", errors.New(n.State)
	}
	return n.State, nil
}

func describeNIC(n devmemtcp.NIC) (string, error) {
	size := devmemtcp.NewPoolSize(1, n.Ring, usualPairs)
	text := fmt.Sprintf("driver %s; DMA device %s; %d receive queues of %d descriptors; MTU %d; receive pool for one queue and %d connections: %s (rings %s, windows %s, gathers %s)",
		n.Driver, n.DMADevice, n.Queues, n.Ring, n.MTU, usualPairs,
		humanBytes(size.Total()), humanBytes(size.Rings), humanBytes(size.Windows), humanBytes(size.Gathers))
	loans := devmemtcp.NewLoanSize(n.Ring)
	text += fmt.Sprintf("; with --lend-queues, for each user who borrows: %s, of which %s may be lent", humanBytes(loans.Total()), humanBytes(loans.Lent))
	if !n.Up {
		return "", errors.New("it is down; " + text)
	}
	return text, nil
}

// probeDevmem says whether a mount can use devmem-tcp with one of the NICs: what
// a mount switches on itself may be off.
func probeDevmem() (string, error) {
	if err := knowsDevmemTCP(); err != nil {
		return "", err
	}
	nics, err := inspectNICs()
	if err != nil {
		return "", err
	}
	var fit []string
	for _, n := range nics {
		if n.Up && n.Queues > 1 && n.Ring > 0 && n.FreeQueue.OK && n.RSS.OK {
			fit = append(fit, n.Name)
		}
	}
	if len(fit) == 0 {
		return "", errors.New("no NIC here has what it takes")
	}
	return "may do with --nic " + strings.Join(fit, " or ") + "; a mount tries it", nil
}

// restoreNICs puts back what killed mounts left changed.
func restoreNICs(out io.Writer) error {
	names, err := devmemtcp.Restore("")
	for _, name := range names {
		fmt.Fprintf(out, "%s: put back as it was before a mount that is gone changed it\n", name)
	}
	if len(names) == 0 && err == nil {
		fmt.Fprintln(out, "nothing to put back")
	}
	return err
}
