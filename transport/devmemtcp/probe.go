package devmemtcp

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"hbmfs/transport"
	"hbmfs/transport/devmemtcp/internal/nic"
	"hbmfs/transport/probe"
)

const probeRemedy = "use --transport auto or tcp; for devmem-tcp: Linux 6.12 or later with CONFIG_NET_DEVMEM, /dev/udmabuf, and a NIC with header split, queue management and flow steering, which the rows of 'nic' are about"

// usualPairs is for how many connections a probe reckons a receive pool: the
// default of --connections.
const usualPairs = 4

// Probe says whether a mount can use this transport here, and, of each NIC that does
// DMA, what it has of what is needed. It changes nothing: a binding of mem's dma-buf
// is tried only on a NIC that is set up for it, on a queue that nobody else's packets
// come to. A nil mem says not to.
func Probe(mem transport.Memory) []probe.Finding {
	if err := CheckKernel(); err != nil {
		return []probe.Finding{probe.Of("transport", Name, probeRemedy, func() (string, error) { return "", err })}
	}
	nics, err := nic.Inspect(dmabufOf(mem))
	if err != nil {
		remedy := probeRemedy
		if errors.Is(err, fs.ErrPermission) {
			remedy = "run as root"
		}
		refused := func() (string, error) { return "", err }
		return []probe.Finding{probe.Of("transport", Name, remedy, refused), probe.Of("nic", "all", remedy, refused)}
	}
	all := []probe.Finding{probe.Of("transport", Name, probeRemedy, func() (string, error) { return judge(nics) })}
	for _, n := range nics {
		all = append(all, probe.Of("nic", n.Name, remedyOf(n), func() (string, error) { return describe(n) }))
		for _, need := range needs(n) {
			remedy := cmp.Or(need.Remedy, "see the rows above of "+n.Name)
			all = append(all, probe.Of("nic", n.Name+" "+need.name, remedy, need.answer))
		}
	}
	return all
}

// dmabufOf is a memory's dma-buf, or -1.
func dmabufOf(mem transport.Memory) int {
	if mem != nil {
		if fd, off, ok := mem.DMABuf(); ok && off == 0 {
			return fd
		}
	}
	return -1
}

// CheckKernel returns an error, which says what to do, where the kernel has no device
// memory TCP. It gives tokens back in the wrong size: EINVAL from a kernel that
// has device memory TCP, ENOPROTOOPT from one that does not.
func CheckKernel() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DEVMEM_DONTNEED, 0)
	if errors.Is(err, unix.EINVAL) {
		return nil
	}
	return fmt.Errorf("the kernel has no device memory TCP (setsockopt SO_DEVMEM_DONTNEED: %w); Linux 6.12 has, with CONFIG_NET_DEVMEM", err)
}

type namedNeed struct {
	name string
	nic.Need
}

func needs(n nic.Report) []namedNeed {
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
	switch {
	case n.OK:
		return n.State, nil
	case n.Untried:
		return "", fmt.Errorf("%w: %s", probe.ErrUntried, strings.TrimPrefix(n.State, probe.ErrUntried.Error()+": "))
	}
	return "", errors.New(n.State)
}

// describe says what a NIC is, and whether devmem-tcp can use it: what its rows
// come to.
func describe(n nic.Report) (string, error) {
	size := NewPoolSize(1, n.Ring, n.MTU, usualPairs)
	text := fmt.Sprintf("driver %s; DMA device %s; %d receive queues of %d descriptors; MTU %d; receive pool for one queue and %d connections: %s (rings %s, windows %s, gathers %s)",
		n.Driver, n.DMADevice, n.Queues, n.Ring, n.MTU, usualPairs,
		mib(size.Total()), mib(size.Rings), mib(size.Windows), mib(size.Gathers))
	loans := NewLoanSize(n.Ring, n.MTU)
	text += fmt.Sprintf("; with --lend-queues, for each user who borrows: %s, of which %s may be lent", mib(loans.Total()), mib(loans.Lent))
	if lacks := lacking(n); len(lacks) > 0 {
		return "", fmt.Errorf("not for devmem-tcp: %s; %s", strings.Join(lacks, ", "), text)
	}
	return text, nil
}

func remedyOf(n nic.Report) string {
	if !n.Up {
		return "ip link set " + n.Name + " up"
	}
	return "see the rows below of " + n.Name + "; tcp works over it all the same"
}

// lacking names what a NIC lacks.
func lacking(n nic.Report) []string {
	var lacks []string
	if !n.Up {
		lacks = append(lacks, "it is down")
	}
	for _, need := range needs(n) {
		if !need.OK && !need.Untried {
			lacks = append(lacks, "no "+need.name)
		}
	}
	if len(lacks) == 0 && !able(n) {
		lacks = append(lacks, "no receive queue to spare")
	}
	return lacks
}

// judge says whether a mount can use devmem-tcp with one of the NICs: what a mount
// switches on itself may be off.
func judge(nics []nic.Report) (string, error) {
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
func able(n nic.Report) bool {
	return n.Up && n.Queues > 1 && n.Ring > 0 && n.Split.OK && n.HDSThresh.OK &&
		n.FlowSteering.OK && n.RSS.OK && (n.Bind.OK || n.Bind.Untried)
}

// mib is a number of bytes to read.
func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
