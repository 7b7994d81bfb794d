package rdma

import (
	"errors"
	"testing"

	"hbmfs/transport/rdma/internal/hca"
	"hbmfs/transport/rdma/internal/verbs"
)

// TestLastConnectionClosesDevice: what waits for a removed device's end waits for
// every connection on it, and no new one shares it.
func TestLastConnectionClosesDevice(t *testing.T) {
	o := &opened{Device: hca.NewDevice("dev0", new(verbs.Context), new(verbs.PD)), refs: 1}
	d := &device{open: o}
	if shared, err := d.acquire("dev0"); shared != o || err != nil {
		t.Fatal(err)
	}
	o.Remove()
	if _, err := d.acquire("dev0"); !errors.Is(err, hca.ErrRemoved) {
		t.Errorf("a removed device was shared: %v", err)
	}
	d.release(o)
	select {
	case <-o.Closed:
		t.Error("closed with a connection on it")
	default:
	}
	d.release(o)
	<-o.Closed
	if d.open != nil {
		t.Error("a device is open that has no connection")
	}
}
