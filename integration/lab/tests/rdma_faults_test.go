package tests

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"hbmfs/fs/uapi"
	"hbmfs/integration/lab/guest"
)

// exitTransport is what hbmfs exits with if no transport can be used.
const exitTransport = 4

// TestRDMAUnequalMTU: the hosts' devices can't send packets of the same size. A
// queue pair of the larger size would connect, and then hang.
func TestRDMAUnequalMTU(t *testing.T) {
	peer := guest.Peer(t)
	peer.Run(t, "ip", "link", "set", "eth0", "mtu", "1500")
	t.Cleanup(func() { peer.Run(t, "ip", "link", "set", "eth0", "mtu", "9000") })
	startTarget(t, big(1, 1))
	m := direct(t)
	m.fetchAll(t, "f1", 1, 1)
}

// fetchAll fetches a file, all of it by the path that the mount must take.
func (m *mount) fetchAll(t *testing.T, name string, number, version int) {
	t.Helper()
	f := m.open(t, name, number, version)
	for off := int64(0); off < fileSize; off += 4 * megabyte {
		r, err := f.fetch(t.Context(), off, 4*megabyte)
		if err != nil {
			t.Fatal(err)
		}
		if r.Path != f.path || r.Why != uapi.WhyBest {
			t.Fatalf("%d bytes at %d came by %v (%v)", r.Fetched, off, r.Path, r.Why)
		}
	}
}

// TestRDMATargetStopped: the target stops for longer than the mount waits, and
// then writes what it was asked for before. By that time the extents that it
// writes to hold other bytes.
func TestRDMATargetStopped(t *testing.T) {
	tg := startTarget(t, big(1, 1), big(2, 1))
	m := direct(t)
	l := startLoad(t, 6, true, m.open(t, "f1", 1, 1), m.open(t, "f2", 2, 1))
	l.advance(5, time.Minute)
	before := m.busy(t)
	tg.Signal(t, syscall.SIGSTOP)
	t.Cleanup(func() { tg.Signal(t, syscall.SIGCONT) })
	gaveUp := eventually(t, time.Minute, "the mount gives up", func() error {
		if l.failed.Load() == 0 {
			return context.DeadlineExceeded
		}
		return nil
	})
	tg.Signal(t, syscall.SIGCONT)
	took := l.advance(50, time.Minute)
	l.stop()
	t.Logf("%d in flight when the target stopped; first error after %v; 50 fetches %v after it went on",
		before.Target.Link.InFlight, gaveUp, took)
	m.settled(t)
}

// TestRDMAAbsent: a host without an RDMA device.
func TestRDMAAbsent(t *testing.T) {
	startTarget(t, big(1, 1))
	removeDevices(t)
	t.Run("require-direct", func(t *testing.T) {
		p := guest.Local(t).Start(t, program(t), "mount", "--transport", "rdma", "--require-direct", guest.PeerAddr+":7070", t.TempDir())
		if exit := p.Wait(t); exit.Code != exitTransport || !strings.Contains(p.Output(), "no RDMA device") {
			t.Errorf("%+v: %s", exit, p.Output())
		}
	})
	t.Run("auto", func(t *testing.T) {
		m := startMount(t, "--pool", smallPool, "--device", "udmabuf")
		f := m.open(t, "f1", 1, 1)
		r, err := f.fetch(t.Context(), 0, 2*megabyte)
		if err != nil {
			t.Fatal(err)
		}
		if r.Path != uapi.PathStaged || r.Why != uapi.WhyNoDirect {
			t.Errorf("came by %v (%v)", r.Path, r.Why)
		}
		if info := guest.Run(t, program(t), "stat", m.dir); !strings.Contains(info, "no RDMA device") {
			t.Errorf("stat does not say why not by RDMA:\n%s", info)
		}
	})
}

// removeDevices takes this guest's RDMA devices away until the test ends.
func removeDevices(t *testing.T) {
	t.Helper()
	local := guest.Local(t)
	for device, netdev := range map[string]string{"rxe0": "eth0", "rxe1": "lab0"} {
		local.Run(t, "rdma", "link", "delete", device)
		t.Cleanup(func() { local.Run(t, "rdma", "link", "add", device, "type", "rxe", "netdev", netdev) })
	}
}
