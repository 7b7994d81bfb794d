package devmemtcp

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/cache/device"
	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

// Where the tests find a NIC that does all that device memory TCP needs, and the
// network namespace that it leads to; or the module of the lab's test NIC.
const (
	nicEnv    = "HBMFS_DEVMEM_NIC"
	netnsEnv  = "HBMFS_DEVMEM_NETNS"
	memnicEnv = "HBMFS_MEMNIC"
)

// testNIC is the NIC to test with.
type testNIC struct{ name, netns string }

func needNIC(t testing.TB) testNIC {
	t.Helper()
	n := testNIC{os.Getenv(nicEnv), os.Getenv(netnsEnv)}
	module := os.Getenv(memnicEnv)
	switch {
	case n.name != "" && n.netns != "":
	case module != "":
		n = loadMemnic(t, module)
	default:
		unsupported(t, "no test NIC for device memory TCP (make lab T=devmem)")
	}
	return n
}

// loadMemnic has a pair of test NICs until the test ends, the other one in a
// namespace.
func loadMemnic(t testing.TB, module string) testNIC {
	t.Helper()
	const ns = "devmempeer"
	command(t, "insmod", module)
	t.Cleanup(func() {
		command(t, "rmmod", "memnic")
		command(t, "ip", "netns", "del", ns)
	})
	command(t, "ip", "netns", "add", ns)
	command(t, "ip", "link", "set", "mem1", "netns", ns)
	for i, end := range [][]string{{"-n", "", "mem0"}, {"-n", ns, "mem1"}} {
		ip := func(args ...string) {
			if end[1] != "" {
				args = append(end[:2:2], args...)
			}
			command(t, "ip", args...)
		}
		ip("link", "set", "lo", "up")
		ip("link", "set", end[2], "mtu", "9000", "up")
		ip("addr", "add", fmt.Sprintf("10.79.1.%d/24", i+1), "dev", end[2])
		ip("addr", "add", fmt.Sprintf("fd7a::%d/64", i+1), "dev", end[2], "nodad")
	}
	return testNIC{"mem0", "/run/netns/" + ns}
}

func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return string(out)
}

// config is of a transport over the NIC, with a pool that the CPU can read.
func (n testNIC) config(t testing.TB) Config {
	return Config{NIC: n.name, Queues: 2, StateDir: t.TempDir(), Pairs: 2, Pool: allocUDMABuf}
}

func allocUDMABuf(size int64) (PoolMemory, error) {
	p, err := device.Open("udmabuf")
	if err != nil {
		return nil, err
	}
	return p.Alloc(transport.Domain{}, size)
}

func reserveUDMABuf(dom transport.Domain, size int64) (transport.LoanMemory, error) {
	p, err := device.Open("udmabuf")
	if err != nil {
		return nil, err
	}
	return p.Alloc(dom, size)
}

// listen is a [listener] on the far side of the NIC.
func (n testNIC) listen(t testing.TB, serve func(net.Conn)) string {
	return n.listenAt(t, serve, false)
}

func (n testNIC) listen6(t testing.TB, serve func(net.Conn)) string {
	return n.listenAt(t, serve, true)
}

func (n testNIC) listenAt(t testing.TB, serve func(net.Conn), v6 bool) string {
	t.Helper()
	type result struct {
		ln  net.Listener
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // for good: the thread ends in the other namespace
		ln, err := n.listenThere(v6)
		done <- result{ln, err}
	}()
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	return transporttest.Accept(t, r.ln, serve)
}

func (n testNIC) listenThere(v6 bool) (net.Listener, error) {
	ns, err := os.Open(n.netns)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, os.NewSyscallError("setns", err)
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		ip := a.(*net.IPNet).IP
		if ip.IsGlobalUnicast() && (ip.To4() == nil) == v6 {
			return net.Listen("tcp", net.JoinHostPort(ip.String(), "0"))
		}
	}
	return nil, fmt.Errorf("no address in %s: %v", n.netns, addrs)
}
