// Package tests holds the tests that run in the first guest of the lab. It has
// no code of its own.
package tests

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hbmfs/integration/lab/guest"
)

func TestBootPeer(t *testing.T) {
	peer := guest.Peer(t)
	here, there := guest.Run(t, "ip", "-br", "addr"), peer.Run(t, "ip", "-br", "addr")
	if !strings.Contains(here, guest.Addr+"/") || !strings.Contains(there, guest.PeerAddr+"/") {
		t.Errorf("addresses here:\n%sand there:\n%s", here, there)
	}
}

// TestBootMTU sends what is not to be fragmented.
func TestBootMTU(t *testing.T) {
	guest.Required(t)
	const headers = 20 + 8 // IPv4 and ICMP
	size := strconv.Itoa(9000 - headers)
	out := guest.Run(t, "busybox", "ping", "-c", "2", "-s", size, guest.PeerAddr)
	if !strings.Contains(out, " 0% packet loss") {
		t.Error(out)
	}
	for _, h := range []*guest.Host{guest.Local(t), guest.Peer(t)} {
		if mtu := h.Run(t, "cat", "/sys/class/net/eth0/mtu"); strings.TrimSpace(mtu) != "9000" {
			t.Errorf("MTU %s", mtu)
		}
	}
}

func TestBootRDMADevices(t *testing.T) {
	for _, h := range []*guest.Host{guest.Local(t), guest.Peer(t)} {
		netdev := h.Run(t, "cat", "/sys/class/infiniband/rxe0/parent")
		state := h.Run(t, "cat", "/sys/class/infiniband/rxe0/ports/1/state")
		if strings.TrimSpace(netdev) != "eth0" || !strings.Contains(state, "ACTIVE") {
			t.Errorf("rxe0 is on %q, %q", netdev, state)
		}
	}
}

// TestBootWriteBW shows RDMA between the guests, by a program of others.
func TestBootWriteBW(t *testing.T) {
	peer := guest.Peer(t)
	server := peer.Start(t, "ib_write_bw", "-x", "1", "-R", "-d", "rxe0", "-s", "65536", "-n", "500")
	awaitListener(t, peer, server)
	out := guest.Run(t, "ib_write_bw", "-x", "1", "-R", "-d", "rxe0", "-s", "65536", "-n", "500", guest.PeerAddr)
	if rate, ok := averageRate(out); ok {
		t.Logf("ib_write_bw, 64 KiB: %s MB/s", rate)
	} else {
		t.Errorf("no figures:\n%s", out)
	}
}

// awaitListener waits until a server on h listens by rdma_cm; perftest itself
// does not say so in time.
func awaitListener(t *testing.T, h *guest.Host, server *guest.Process) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		ids := h.Run(t, "rdma", "resource", "show", "cm_id")
		if strings.Contains(ids, "state LISTEN") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody listens: %s\n%s", ids, server.Output())
		}
	}
}

// averageRate finds perftest's line of figures: size, count, peak, average, messages.
func averageRate(output string) (string, bool) {
	for line := range strings.Lines(output) {
		fields := strings.Fields(line)
		if len(fields) == 5 && fields[0] == "65536" && fields[1] == "500" {
			return fields[3], true
		}
	}
	return "", false
}

func TestBootDMABuf(t *testing.T) {
	guest.Required(t)
	f, err := os.OpenFile("/dev/udmabuf", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// TestBootReadOnly shows that a guest can write its own files and not the host's.
func TestBootReadOnly(t *testing.T) {
	guest.Required(t)
	name := "hbmfs-lab-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	if err := os.WriteFile(filepath.Join("/var", name), nil, 0o600); err != nil {
		t.Errorf("in the guest's own layer: %v", err)
	}
	if err := os.WriteFile(filepath.Join("/host/var", name), nil, 0o600); !errors.Is(err, syscall.EROFS) {
		t.Errorf("on the host: %v, want %v", err, syscall.EROFS)
	}
}
