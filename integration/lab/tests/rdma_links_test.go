package tests

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"hbmfs/integration/lab/agent"
	"hbmfs/integration/lab/guest"
)

const (
	// linkDown is three times what the queue pairs' retries take, on a quiet machine.
	linkDown = 6 * time.Second
	// sessionDown is long enough for the mount to give its session up.
	sessionDown = 20 * time.Second
	// notice is how long a guest's agent, which is reached over the same link, has
	// to say that it started what takes the link down.
	notice = 500 * time.Millisecond
	// recovery is how soon after a fault's end fetches must come again.
	recovery = 30 * time.Second
)

// faulted is a mount under load, and what the guests' kernels had for it before
// the fault.
type faulted struct {
	t     *testing.T
	m     *mount
	l     *load
	hosts []*guest.Host
	had   []rdmaObjects
}

func startFaulted(t *testing.T) *faulted {
	t.Helper()
	tg := startTarget(t, big(1, 1))
	f := &faulted{t: t, m: direct(t), hosts: []*guest.Host{guest.Local(t), tg.peer}}
	f.l = startLoad(t, 4, true, f.m.open(t, "f1", 1, 1))
	f.l.advance(5, time.Minute)
	for _, h := range f.hosts {
		f.had = append(f.had, objects(t, h))
	}
	return f
}

// inFlight waits until the fault would hit requests, and says how many.
func (f *faulted) inFlight() int64 { return f.m.busy(f.t).Target.Link.InFlight }

// lost is how many connections were.
func (f *faulted) lost() int64 { return f.m.stats(f.t).Target.Link.Lost }

// recovered fails the test unless the load goes on in time.
func (f *faulted) recovered(what string, inFlight, lostBefore int64) {
	f.t.Helper()
	took := f.l.advance(20, recovery)
	lost := f.lost() - lostBefore
	f.t.Logf("%s: %d in flight; 20 fetches %v after it; %d fetches failed so far, %d requests issued again, %d connections lost",
		what, inFlight, took.Round(time.Millisecond), f.l.failed.Load(), f.m.stats(f.t).Target.Retries, lost)
	if lost == 0 {
		f.t.Errorf("%s hit no connection", what)
	}
}

// settled ends the load, and fails the test unless all is as it was before.
func (f *faulted) settled() {
	f.t.Helper()
	f.l.stop()
	f.m.settled(f.t)
	for i, h := range f.hosts {
		eventually(f.t, 30*time.Second, fmt.Sprintf("the RDMA objects of guest %d are as before", i+1), func() error {
			if got := objects(f.t, h); got != f.had[i] {
				return fmt.Errorf("%+v; before: %+v", got, f.had[i])
			}
			return nil
		})
	}
}

// TestRDMALinkDown takes the link of the mount away under load, and gives it
// back; then the link of the target; then the mount's for so long that it gives
// its session up meanwhile.
func TestRDMALinkDown(t *testing.T) {
	f := startFaulted(t)
	for _, c := range []struct {
		whose   string
		host    *guest.Host
		down    time.Duration
		session bool // is lost; others may be
	}{
		{"the mount's", f.hosts[0], linkDown, false},
		{"the target's", f.hosts[1], linkDown, false},
		{"the mount's", f.hosts[0], sessionDown, true},
	} {
		c.host.Run(t, "sysctl", "-qw", "net.ipv6.conf.eth0.keep_addr_on_down=1")
		sessions, before, inFlight := f.m.stats(t).Target.Sessions, f.lost(), f.inFlight()
		flap := c.host.Start(t, "sh", "-c", fmt.Sprintf("sleep %v; ip link set eth0 down; sleep %v; ip link set eth0 up",
			notice.Seconds(), c.down.Seconds()))
		time.Sleep(notice + c.down)
		f.recovered(fmt.Sprintf("%s link was down for %v", c.whose, c.down), inFlight, before)
		if c.session && f.m.stats(t).Target.Sessions == sessions {
			t.Error("the session was not lost")
		}
		f.canConnect(c.whose)
		flap.Wait(t)
	}
	f.settled()
}

// canConnect fails the test if a device can't send messages of the connection
// manager any more.
func (f *faulted) canConnect(what string) {
	f.t.Helper()
	for _, h := range f.hosts {
		if gsi := gsiQueuePair(f.t, h); !strings.Contains(gsi, "state RTS") {
			f.t.Fatalf("after %s link was down, a GSI queue pair: %q", what, gsi)
		}
	}
}

// gsiQueuePair is what the kernel says of the queue pair of rxe0 that carries
// the connection manager's messages.
func gsiQueuePair(t *testing.T, h *guest.Host) string {
	t.Helper()
	for line := range strings.Lines(h.Run(t, "rdma", "resource", "show", "qp", "link", "rxe0/1")) {
		if strings.Contains(line, "type GSI") {
			return line
		}
	}
	return ""
}

// TestRDMADeviceRemoved removes the mount's RDMA device under load, which waits
// until nothing uses it, and adds it again.
func TestRDMADeviceRemoved(t *testing.T) {
	f := startFaulted(t)
	lost, inFlight := f.lost(), f.inFlight()
	f.removeDevice()
	f.addDevice()
	f.recovered("the device was removed", inFlight, lost)
	f.settled()
}

// TestRDMADeviceRemovedWhileDown removes it when connections have ended whose
// peers could not be told, since the link is down.
func TestRDMADeviceRemovedWhileDown(t *testing.T) {
	f := startFaulted(t)
	lost, inFlight := f.lost(), f.inFlight()
	f.hosts[0].Run(t, "sysctl", "-qw", "net.ipv6.conf.eth0.keep_addr_on_down=1")
	f.hosts[0].Run(t, "ip", "link", "set", "eth0", "down")
	eventually(t, recovery, "the connections are lost", func() error {
		if l := f.m.stats(t).Target.Link; l.Connections > 0 {
			return fmt.Errorf("%+v", l)
		}
		return nil
	})
	f.removeDevice()
	f.hosts[0].Run(t, "ip", "link", "set", "eth0", "up")
	f.addDevice()
	f.recovered("the device was removed", inFlight, lost)
	f.settled()
}

// removeDevice fails the test if the mount's device is held for long.
func (f *faulted) removeDevice() {
	f.t.Helper()
	began := time.Now()
	removal := f.hosts[0].Start(f.t, "rdma", "link", "delete", "rxe0")
	if exit := removal.Wait(f.t); exit != (agent.Exit{}) {
		f.t.Fatalf("rdma link delete: %v\n%s", exit, removal.Output())
	}
	took := time.Since(began)
	f.t.Logf("the device was gone after %v", took.Round(time.Millisecond))
	if took > recovery {
		f.t.Errorf("the device was held for %v", took)
	}
}

func (f *faulted) addDevice() {
	f.t.Helper()
	f.hosts[0].Run(f.t, "rdma", "link", "add", "rxe0", "type", "rxe", "netdev", "eth0")
}

// TestRDMASilentDevice has the kernel send for a killed mount while the link is
// down, which costs Soft-RoCE its GSI queue pair: the next mount says so, and
// how to heal it.
func TestRDMASilentDevice(t *testing.T) {
	f := startFaulted(t)
	local := f.hosts[0]
	local.Run(t, "sysctl", "-qw", "net.ipv6.conf.eth0.keep_addr_on_down=1")
	local.Run(t, "ip", "link", "set", "eth0", "down")
	f.m.Kill(t)
	f.l.stop()
	f.m.Wait(t)
	local.Run(t, "ip", "link", "set", "eth0", "up")
	if gsi := gsiQueuePair(t, local); !strings.Contains(gsi, "state ERR") {
		guest.Unsupported(t, fmt.Sprintf("a device that loses its GSI queue pair; this one has %q", gsi))
	}
	dir := t.TempDir()
	mount := local.Start(t, f.m.bin, "mount", "--foreground", "--transport", "rdma", guest.PeerAddr+":7070", dir)
	if exit := mount.Wait(t); exit.Code == 0 || !strings.Contains(mount.Output(), "rdma link delete") {
		t.Errorf("a mount through a silent device: %v\n%s", exit, mount.Output())
	}
	f.removeDevice()
	f.addDevice()
	if _, err := direct(t).open(t, "f1", 1, 1).fetch(t.Context(), 0, megabyte); err != nil {
		t.Errorf("after the remedy: %v", err)
	}
}
