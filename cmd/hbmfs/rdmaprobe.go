package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/Mellanox/rdmamap"

	"hbmfs/cache/device"
	"hbmfs/transport"
	"hbmfs/transport/rdma"
)

const rdmaRemedy = "bring up its netdev (ip link set NETDEV up), and see 'rdma link'; until then --transport auto takes tcp"

// rdmaChecks is one check for each RDMA device.
func rdmaChecks() []check {
	var all []check
	for _, name := range rdmamap.GetRdmaDeviceList() {
		all = append(all, check{"rdma", name, false, func() (string, error) { return probeRDMADevice(name) }, rdmaRemedy})
	}
	return all
}

// probeRDMA asks what a mount asks: whether a region can be reached.
func probeRDMA() (string, error) {
	mem, err := rdmaProbeMemory()
	if err != nil {
		return "", err
	}
	defer mem.Close()
	plan, err := rdma.New().Plan(mem)
	if err != nil {
		return "", errors.New(strings.TrimPrefix(err.Error(), transport.ErrUnavailable.Error()+": "))
	}
	if !plan.Path.Direct() {
		return "", errors.New(plan.Why.String())
	}
	return "registered a region; path " + plan.Path.String(), nil
}

// rdmaProbeMemory is a region with a dma-buf where the host makes one.
func rdmaProbeMemory() (device.Region, error) {
	dom := transport.Domain{UID: uint32(os.Geteuid())}
	var errs error
	for _, name := range []string{"udmabuf", "memfd"} {
		p, err := device.Open(name)
		if err == nil {
			var mem device.Region
			if mem, err = p.Alloc(dom, probeExtent); err == nil {
				return mem, nil
			}
		}
		errs = errors.Join(errs, err)
	}
	return nil, errs
}

func probeRDMADevice(name string) (string, error) {
	mem, err := rdmaProbeMemory()
	if err != nil {
		return "", err
	}
	defer mem.Close()
	devices, err := rdma.Inspect(mem)
	i := slices.IndexFunc(devices, func(d rdma.Device) bool { return d.Name == name })
	if i < 0 {
		return "", errors.Join(err, fmt.Errorf("libibverbs does not list %s", name))
	}
	d := devices[i]
	text := fmt.Sprintf("netdev %s; %s; link %s, MTU %d of %d; dma-buf registration: %s; CPU mapping: %s; memory windows: %s; %s",
		netdevOf(name), charDevices(name), d.LinkLayer, d.MTU, d.MaxMTU, yesOr(d.DMABuf), yesOr(d.Mapping), yesNo(d.MemoryWindows), gids(name))
	if !d.Active {
		return "", fmt.Errorf("its port is down; %s", text)
	}
	return text, nil
}

func yesOr(err error) string {
	if err != nil {
		return "no (" + err.Error() + ")"
	}
	return "yes"
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
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
