package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"hbmfs/cache/device"
	"hbmfs/transport"
	"hbmfs/transport/devmemtcp"
)

const devmemRemedy = "use --transport auto or tcp; for devmem-tcp: Linux 6.12 or later with CONFIG_NET_DEVMEM, /dev/udmabuf, and a NIC with header split, queue management and flow steering, which the rows of 'nic' are about"

// usualPairs is for how many connections doctor reckons a receive pool: the
// default of --connections.
const usualPairs = 4

// inspection is what is found out about NICs, once a run.
type inspection func() ([]devmemtcp.NIC, error)

// nicChecks are a row for each NIC that does DMA, and one for each thing that
// devmem-tcp needs of it.
func nicChecks(inspect inspection) []check {
	if knowsDevmemTCP() != nil {
		return nil
	}
	nics, err := inspect()
	if err != nil {
		remedy := devmemRemedy
		if errors.Is(err, fs.ErrPermission) {
			remedy = "run as root"
		}
		return []check{{"nic", "all", false, func() (string, error) { return "", err }, remedy}}
	}
	var all []check
	for _, n := range nics {
		all = append(all, check{"nic", n.Name, false, func() (string, error) { return describeNIC(n) }, "ip link set " + n.Name + " up"})
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
	size := devmemtcp.NewPoolSize(1, n.Ring, n.MTU, usualPairs)
	text := fmt.Sprintf("driver %s; DMA device %s; %d receive queues of %d descriptors; MTU %d; receive pool for one queue and %d connections: %s (rings %s, windows %s, gathers %s)",
		n.Driver, n.DMADevice, n.Queues, n.Ring, n.MTU, usualPairs,
		humanBytes(size.Total()), humanBytes(size.Rings), humanBytes(size.Windows), humanBytes(size.Gathers))
	loans := devmemtcp.NewLoanSize(n.Ring, n.MTU)
	text += fmt.Sprintf("; with --lend-queues, for each user who borrows: %s, of which %s may be lent", humanBytes(loans.Total()), humanBytes(loans.Lent))
	if !n.Up {
		return "", errors.New("it is down; " + text)
	}
	return text, nil
}

// probeDevmem says whether a mount can use devmem-tcp with one of the NICs: what
// a mount switches on itself may be off.
func probeDevmem(inspect inspection) (string, error) {
	if err := knowsDevmemTCP(); err != nil {
		return "", err
	}
	nics, err := inspect()
	if err != nil {
		return "", err
	}
	return judgeNICs(nics)
}

func judgeNICs(nics []devmemtcp.NIC) (string, error) {
	var fit, busy []string
	for _, n := range nics {
		switch {
		case !able(n):
		case n.FreeQueue.OK:
			fit = append(fit, n.Name)
		default:
			busy = append(busy, fmt.Sprintf("%s (%s)", n.Name, n.FreeQueue.State))
		}
	}
	switch {
	case len(fit) > 0:
		return "may do with --nic " + strings.Join(fit, " or ") + "; a mount tries it", nil
	case len(busy) > 0:
		return "", errors.New("in use: " + strings.Join(busy, ", "))
	}
	return "", errors.New("no NIC here has what it takes")
}

// able says whether a NIC would do if nobody used its last queue.
func able(n devmemtcp.NIC) bool {
	return n.Up && n.Queues > 1 && n.Ring > 0 && n.Split.OK && n.HDSThresh.OK &&
		n.FlowSteering.OK && n.RSS.OK && (n.Bind.OK || n.Bind.Untried)
}

// restoreNICs puts back what killed mounts left changed.
func restoreNICs(out io.Writer) error {
	names, busy, err := devmemtcp.Restore("")
	for _, name := range names {
		fmt.Fprintf(out, "%s: put back as it was before a mount that is gone changed it\n", name)
	}
	for _, who := range busy {
		fmt.Fprintln(out, who+"; left as it is")
	}
	if len(names)+len(busy) == 0 && err == nil {
		fmt.Fprintln(out, "nothing to put back")
	}
	return err
}
