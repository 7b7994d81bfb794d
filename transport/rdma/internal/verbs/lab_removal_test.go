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
	client.event(DeviceRemoval)
	server.event(DeviceRemoval)
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
