package tests

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"hbmfs/integration/lab/agent"
	"hbmfs/integration/lab/guest"
)

// The ends of the pair: mem0 in one network namespace, which sends, and mem1 in
// another, which receives.
const (
	sendNS, receiveNS = "memsend", "memreceive"
	sendAddr          = "10.79.0.1"
	receiveAddr       = "10.79.0.2"
	sendAddr6         = "fd79::1"
	receiveAddr6      = "fd79::2"
	devmemPort        = "7100"
	plainPort         = "7200"
)

// wire is the pair of test NICs.
type wire struct {
	t    *testing.T
	host *guest.Host
}

// newWire loads the module and joins two namespaces. The end of the test
// unloads it, and fails if the kernel complained meanwhile.
func newWire(t *testing.T) *wire {
	t.Helper()
	w := &wire{t, guest.Local(t)}
	t.Cleanup(func() { w.complaints() })
	t.Cleanup(w.unload)
	w.run("dmesg", "-C")
	w.run("insmod", os.Getenv("HBMFS_MEMNIC"))
	for _, end := range []struct{ ns, dev, addr, addr6 string }{
		{sendNS, "mem0", sendAddr, sendAddr6}, {receiveNS, "mem1", receiveAddr, receiveAddr6},
	} {
		w.run("ip", "netns", "add", end.ns)
		w.run("ip", "link", "set", end.dev, "netns", end.ns)
		w.run("ip", "-n", end.ns, "link", "set", "lo", "up") // Go asks there what IPv6 can do
		w.in(end.ns, "sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/"+end.dev+"/keep_addr_on_down")
		w.run("ip", "-n", end.ns, "link", "set", end.dev, "mtu", "9000", "up")
		w.run("ip", "-n", end.ns, "addr", "add", end.addr+"/24", "dev", end.dev)
		w.run("ip", "-n", end.ns, "addr", "add", end.addr6+"/64", "dev", end.dev, "nodad")
	}
	return w
}

func (w *wire) run(argv ...string) string {
	w.t.Helper()
	return w.host.Run(w.t, argv...)
}

// in runs a program in a namespace.
func (w *wire) in(ns string, argv ...string) string {
	w.t.Helper()
	return w.run(append([]string{"ip", "netns", "exec", ns}, argv...)...)
}

// child starts a child in a namespace.
func (w *wire) child(ns, name string, args ...string) *guest.Process {
	w.t.Helper()
	c := child(w.t, name, args...)
	c.Argv = append([]string{"ip", "netns", "exec", ns}, c.Argv...)
	return w.host.StartCommand(w.t, c)
}

func (w *wire) split(ns, dev, value string) {
	w.t.Helper()
	p := w.child(ns, "split", dev, value)
	if exit := p.Wait(w.t); exit != (agent.Exit{}) {
		w.t.Fatalf("%v: %s", exit, p.Output())
	}
}

// steer takes queues but the first out of the hash of the receiving end, and
// has flows to the port for device memory go to queue 1.
func (w *wire) steer() {
	w.t.Helper()
	w.split(receiveNS, "mem1", "on")
	w.in(receiveNS, "ethtool", "-X", "mem1", "equal", "1")
	w.in(receiveNS, "ethtool", "-N", "mem1", "flow-type", "tcp4", "dst-ip", receiveAddr, "dst-port", devmemPort, "action", "1")
	w.in(receiveNS, "ethtool", "-N", "mem1", "flow-type", "tcp6", "dst-ip", receiveAddr6, "dst-port", devmemPort, "action", "1")
}

// receiver starts a receiver of device memory, which listens on both addresses.
func (w *wire) receiver(args ...string) *guest.Process {
	w.t.Helper()
	p := w.child(receiveNS, "devmem", append([]string{"-listen", ":" + devmemPort}, args...)...)
	p.WaitLine(w.t, "listening")
	return p
}

// send sends size bytes; the sender has ended when it returns.
func (w *wire) send(to, port string, size int64) {
	w.t.Helper()
	p := w.sender(to, port, size)
	if exit := p.Wait(w.t); exit != (agent.Exit{}) {
		w.t.Fatalf("sender: %v: %s", exit, p.Output())
	}
}

func (w *wire) sender(to, port string, size int64) *guest.Process {
	w.t.Helper()
	if strings.Contains(to, ":") {
		to = "[" + to + "]"
	}
	return w.child(sendNS, "send", to+":"+port, strconv.FormatInt(size, 10))
}

// counters are those of the receiving end.
func (w *wire) counters() map[string]int64 {
	w.t.Helper()
	return parseCounters(w.in(receiveNS, "ethtool", "-S", "mem1"))
}

func parseCounters(text string) map[string]int64 {
	all := map[string]int64{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			all[name] = n
		}
	}
	return all
}

// moved is how the counters of a queue changed since before.
func (w *wire) moved(before map[string]int64, queue int) map[string]int64 {
	w.t.Helper()
	prefix := fmt.Sprintf("rx%d_", queue)
	change := map[string]int64{}
	for name, n := range w.counters() {
		if short, ok := strings.CutPrefix(name, prefix); ok {
			change[short] = n - before[name]
		}
	}
	return change
}

func (w *wire) awaitCounter(name string, ok func(int64) bool) {
	w.t.Helper()
	eventually(w.t, 30*time.Second, name, func() error {
		if n := w.counters()[name]; !ok(n) {
			return fmt.Errorf("it is %d", n)
		}
		return nil
	})
}

func (w *wire) loaded() bool {
	_, err := os.Stat("/sys/module/memnic")
	return err == nil
}

func (w *wire) unload() {
	if w.loaded() {
		w.run("rmmod", "memnic")
	}
	for _, ns := range []string{sendNS, receiveNS} {
		w.host.Start(w.t, "ip", "netns", "del", ns).Wait(w.t)
	}
}

// complaints fails the test for warnings of the kernel.
func (w *wire) complaints() {
	log := w.run("dmesg")
	for _, bad := range []string{"WARNING:", "BUG:", "Oops", "Call Trace", "refcount", "stalled pool"} {
		if strings.Contains(log, bad) {
			w.t.Errorf("the kernel said %q:\n%s", bad, log)
			return
		}
	}
}
