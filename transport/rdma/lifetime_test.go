package rdma

import (
	"errors"
	"testing"

	"hbmfs/transport/rdma/internal/verbs"
)

func isClosed(l lifetime) bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

// TestLastConnectionClosesDevice: what waits for a removed device's end waits for
// every connection on it, and no new one shares it.
func TestLastConnectionClosesDevice(t *testing.T) {
	o := &opened{lifetime: newLifetime(), name: "dev0", ctx: new(verbs.Context), pd: new(verbs.PD), refs: 1}
	d := &device{open: o}
	if shared, err := d.acquire("dev0"); shared != o || err != nil {
		t.Fatal(err)
	}
	o.remove()
	if _, err := d.acquire("dev0"); !errors.Is(err, errRemoved) {
		t.Errorf("a removed device was shared: %v", err)
	}
	d.release(o)
	if isClosed(o.lifetime) {
		t.Error("closed with a connection on it")
	}
	d.release(o)
	if !isClosed(o.lifetime) || d.open != nil {
		t.Error("not closed with its last connection")
	}
}

func TestLastClientClosesDevice(t *testing.T) {
	old := &serverDevice{lifetime: newLifetime(), name: "dev0", users: 2}
	again := &serverDevice{lifetime: newLifetime(), name: "dev0"}
	s := &serverDevices{open: map[string]*serverDevice{"dev0": old}}
	if err := s.leave(old); err != nil || isClosed(old.lifetime) {
		t.Errorf("closed with a connection on it, or %v", err)
	}
	s.open["dev0"] = again
	if err := s.leave(old); err != nil || !isClosed(old.lifetime) || s.open["dev0"] != again {
		t.Errorf("not closed with its last connection, or in the place of the next: %v", err)
	}
}
