package nic

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// nicEnv names a NIC of this network namespace that has all that device
	// memory TCP needs, at least three receive queues, and is for tests.
	nicEnv = "HBMFS_DEVMEM_NIC"
	// memnicEnv names the module of the lab's test NIC; without nicEnv, each test
	// has a NIC of its own.
	memnicEnv = "HBMFS_MEMNIC"

	memnic, memnicPeer, peerNS = "mem0", "mem1", "nicpeer"
)

var addr = netip.MustParseAddrPort

func labNIC(t *testing.T) string {
	t.Helper()
	if name := os.Getenv(nicEnv); name != "" {
		return name
	}
	return newMemnic(t)
}

// newMemnic loads the module, and has the other end of the wire in a namespace.
func newMemnic(t *testing.T) string {
	t.Helper()
	module := os.Getenv(memnicEnv)
	if module == "" || os.Getenv(nicEnv) != "" {
		skip(t, "no test NIC for device memory TCP (make lab T=devmem)")
	}
	tell(t, "insmod", module, "queues=4")
	t.Cleanup(func() {
		tell(t, "rmmod", "memnic")
		tell(t, "ip", "netns", "del", peerNS)
	})
	tell(t, "ip", "netns", "add", peerNS)
	tell(t, "ip", "link", "set", memnicPeer, "netns", peerNS)
	for i, end := range [][]string{{"ip"}, {"ip", "-n", peerNS}} {
		dev := []string{memnic, memnicPeer}[i]
		tell(t, append(end, "link", "set", dev, "mtu", "9000", "up")...)
		tell(t, append(end, "addr", "add", fmt.Sprintf("10.9.9.%d/24", i+1), "dev", dev)...)
		tell(t, append(end, "addr", "add", fmt.Sprintf("fd09::%d/64", i+1), "dev", dev, "nodad")...)
	}
	return memnic
}

// TestLabTraffic has packets of a steered connection, and no others, come to the
// queue.
func TestLabTraffic(t *testing.T) {
	name := newMemnic(t)
	unchanged(t, name)
	n := labOpen(t, name, 2)
	for i, host := range []string{"10.9.9.", "fd09::"} {
		local := netip.AddrPortFrom(netip.MustParseAddr(host+"1"), uint16(4000+i))
		remote := netip.AddrPortFrom(netip.MustParseAddr(host+"2"), uint16(5000+i))
		l := listenThere(t, remote)
		q := n.Queues()[i]
		r := must(n.Steer(local, remote, q))(t)
		transfer(t, l, local, remote)
		if hits := counter(t, name, q, "rule_hits"); hits == 0 {
			t.Errorf("no packet of %v came to queue %d", remote, q)
		}
		if cut := counter(t, name, q, "split_packets"); cut == 0 {
			t.Errorf("no packet of queue %d was cut after its headers", q)
		}
		check(t, r.Close())
		before := counter(t, name, q, "host_bytes") + counter(t, name, q, "other_packets")
		transfer(t, l, netip.AddrPortFrom(local.Addr(), local.Port()+100), remote)
		if after := counter(t, name, q, "host_bytes") + counter(t, name, q, "other_packets"); after != before {
			t.Errorf("packets of others came to queue %d", q)
		}
		l.Close()
	}
}

const transferred = 1 << 20

// transfer receives bytes over a connection.
func transfer(t *testing.T, l net.Listener, local, remote netip.AddrPort) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, err = c.Write(make([]byte, transferred))
			c.Close()
		}
		done <- err
	}()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(local), Timeout: 10 * time.Second}
	c := must(d.Dial("tcp", remote.String()))(t)
	defer c.Close()
	check(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	if got, err := io.Copy(io.Discard, c); got != transferred || err != nil {
		t.Errorf("received %d bytes, %v", got, err)
	}
	check(t, <-done)
}

// listenThere makes its socket in the peer's namespace. The thread that went there
// ends with its goroutine.
func listenThere(t *testing.T, at netip.AddrPort) net.Listener {
	t.Helper()
	ns := must(os.Open("/run/netns/" + peerNS))(t)
	defer ns.Close()
	var l net.Listener
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			l, err = net.Listen("tcp", at.String())
		}
		done <- err
	}()
	check(t, <-done)
	t.Cleanup(func() { l.Close() })
	return l
}

func counter(t *testing.T, name string, queue int, what string) (n int) {
	t.Helper()
	want := fmt.Sprintf("rx%d_%s:", queue, what)
	for _, line := range strings.Split(tell(t, "ethtool", "-S", name), "\n") {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), want); ok {
			fmt.Sscan(value, &n)
		}
	}
	return n
}

// TestLabGone has the NIC go while it is held, with a binding and a rule.
func TestLabGone(t *testing.T) {
	name := newMemnic(t)
	dir := t.TempDir()
	n := must(Open(Config{Name: name, Queues: 1, StateDir: dir}))(t)
	b := must(n.Bind(labDMABuf(t)))(t)
	r := must(n.Steer(addr("10.9.9.1:4000"), addr("10.9.9.2:5000"), n.taken[0]))(t)
	unbind := "/sys/bus/platform/drivers/memnic/"
	device := strings.TrimPrefix(n.link.Parent, "platform/")
	check(t, os.WriteFile(unbind+"unbind", []byte(device), 0o200))
	if err := n.Check(); !errors.Is(err, ErrNoNIC) {
		t.Errorf("gone: %v", err)
	}
	if _, err := n.Steer(addr("10.9.9.1:4001"), addr("10.9.9.2:5000"), n.taken[0]); !errors.Is(err, ErrNoNIC) {
		t.Errorf("Steer: %v", err)
	}
	if _, err := n.Bind(labDMABuf(t)); !errors.Is(err, ErrNoNIC) {
		t.Errorf("Bind: %v", err)
	}
	check(t, r.Close())
	check(t, b.Close())
	check(t, n.Close())

	check(t, os.WriteFile(unbind+"bind", []byte(device), 0o200))
	tell(t, "ip", "link", "set", name, "up")
	again := must(Open(Config{Name: name, Queues: 1, StateDir: dir}))(t)
	check(t, again.Check())
	check(t, again.Close())
	if got, _, err := Restore(dir); got != nil || err != nil {
		t.Errorf("restored %v, %v", got, err)
	}
}
