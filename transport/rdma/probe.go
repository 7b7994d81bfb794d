package rdma

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/Mellanox/rdmamap"

	"hbmfs/transport"
	"hbmfs/transport/probe"
	"hbmfs/transport/rdma/internal/verbs"
)

const deviceRemedy = "bring up its netdev (ip link set NETDEV up), and see 'rdma link'; until then --transport auto takes tcp"

// Probe says whether a mount can use this transport with mem, which may be nil,
// and what each RDMA device of this host can do.
func Probe(mem transport.Memory) []probe.Finding {
	remedy := "use --transport auto or tcp; for RDMA: a device, the modules ib_uverbs and rdma_ucm, and Debian's libibverbs1, librdmacm1 and ibverbs-providers"
	if Built() != nil {
		remedy = "build it in, or use --transport auto or tcp"
	}
	all := []probe.Finding{probe.Of("transport", Name, remedy, func() (string, error) { return tryPlan(mem) })}
	for _, name := range rdmamap.GetRdmaDeviceList() {
		all = append(all, probe.Of("rdma", name, deviceRemedy, func() (string, error) { return describe(name, mem) }))
	}
	return all
}

var errNoMemory = fmt.Errorf("%w: no device memory to register", probe.ErrUntried)

// tryPlan asks what a mount asks: whether memory can be reached.
func tryPlan(mem transport.Memory) (string, error) {
	if mem == nil {
		return "", errNoMemory
	}
	plan, err := New().Plan(mem)
	if err != nil {
		return "", errors.New(strings.TrimPrefix(err.Error(), "rdma: "+transport.ErrUnavailable.Error()+": "))
	}
	if !plan.Path.Direct() {
		return "", errors.New(plan.Why.String())
	}
	return "registered a region; path " + plan.Path.String(), nil
}

func describe(name string, mem transport.Memory) (string, error) {
	if mem == nil {
		return "", errNoMemory
	}
	listed, err := verbs.Devices()
	if !slices.Contains(listed, name) {
		return "", errors.Join(err, fmt.Errorf("libibverbs does not list %s", name))
	}
	d, err := inspect(name, mem)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("netdev %s; %s; link %s, MTU %d of %d; dma-buf registration: %s; CPU mapping: %s; %s",
		netdevOf(name), charDevices(name), d.linkLayer, d.mtu, d.maxMTU, yesOr(d.dmabuf), yesOr(d.mapping), gids(name))
	switch {
	case !d.active:
		return "", fmt.Errorf("its port is down; %s", text)
	case d.dmabuf != nil && d.mapping != nil:
		return "", fmt.Errorf("it registers no region; %s", text)
	}
	return text, nil
}

func yesOr(err error) string {
	if err != nil {
		return "no (" + err.Error() + ")"
	}
	return "yes"
}

// netdevOf is the network interface that an RDMA device belongs to.
func netdevOf(name string) string {
	interfaces, err := net.Interfaces()
	if err != nil {
		return "unknown (" + err.Error() + ")"
	}
	for _, i := range interfaces {
		if dev, err := rdmamap.GetRdmaDeviceForNetdevice(i.Name); err == nil && dev == name {
			return i.Name
		}
	}
	return "none"
}

func charDevices(name string) string {
	nodes := rdmamap.GetRdmaCharDevices(name)
	if len(nodes) == 0 {
		return "no char device (modprobe ib_uverbs rdma_ucm)"
	}
	return strings.Join(nodes, " ")
}

// gids lists the addresses of a device's first port, with the version of RoCE
// that each is for. The kernel's zero entries are left out.
func gids(name string) string {
	port := filepath.Join(rdmamap.RdmaClassDir, name, "ports", "1")
	entries, _ := os.ReadDir(filepath.Join(port, "gids")) // none are none
	var found []string
	for _, e := range entries {
		gid := firstLine(filepath.Join(port, "gids", e.Name()))
		if ip := net.ParseIP(gid); ip == nil || ip.IsUnspecified() {
			continue
		}
		kind := firstLine(filepath.Join(port, "gid_attrs", "types", e.Name()))
		found = append(found, fmt.Sprintf("GID %s %s %s", e.Name(), net.ParseIP(gid), kind))
	}
	if len(found) == 0 {
		return "no GID (give its netdev an address)"
	}
	return strings.Join(found, ", ")
}

func firstLine(file string) string {
	text, _ := os.ReadFile(file) // what can't be read is empty
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}
