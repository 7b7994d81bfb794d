//go:build linux && cgo

package verbs

import (
	"context"
	"net"
	"net/netip"
	"os/exec"
	"testing"
)

// TestLabRemoval shows that a device can go while connections are up, and that
// the one that comes after it works.
func TestLabRemoval(t *testing.T) {
	netdev := interfaceOf(t, labAddr(t))
	client, server := connected(t)
	name := client.ctx.Name()

	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	del := exec.CommandContext(ctx, "rdma", "link", "del", name)
	check(t, del.Start())
	t.Cleanup(func() { // other tests need it
		_ = exec.Command("rdma", "link", "add", name, "type", "rxe", "netdev", netdev).Run() // it is there, usually
	})
	client.removed()
	server.removed()
	client.close()
	server.close()
	check(t, del.Wait())

	out, err := exec.Command("rdma", "link", "add", name, "type", "rxe", "netdev", netdev).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	client, server = connected(t)
	defer server.close()
	defer client.close()
	sends(client, server)
}

// removed waits until the device goes. That the peer goes with it may be heard
// before.
func (s *side) removed() {
	s.t.Helper()
	for {
		switch ev := must(s.events.Next())(s.t); ev.Kind {
		case DeviceRemoval:
			return
		case Disconnected:
		default:
			s.t.Fatalf("%v, status %d; want the device's removal", ev.Kind, ev.Status)
		}
	}
}

func interfaceOf(t *testing.T, ip netip.Addr) string {
	t.Helper()
	for _, ifi := range must(net.Interfaces())(t) {
		for _, a := range must(ifi.Addrs())(t) {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr() == ip {
				return ifi.Name
			}
		}
	}
	t.Fatalf("no interface has %v", ip)
	return ""
}
