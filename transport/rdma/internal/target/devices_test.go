package target

import (
	"testing"

	"hbmfs/transport/rdma/internal/hca"
	"hbmfs/transport/rdma/internal/verbs"
)

// fakeDevice is open on nothing.
func fakeDevice() hca.Device {
	return hca.NewDevice("dev0", new(verbs.Context), new(verbs.PD))
}

func TestLastClientClosesDevice(t *testing.T) {
	old := &device{Device: fakeDevice(), staging: new(verbs.MR), users: 2}
	again := &device{Device: fakeDevice(), staging: new(verbs.MR)}
	s := &devices{open: map[string]*device{"dev0": old}}
	if err := s.leave(old); err != nil {
		t.Error(err)
	}
	select {
	case <-old.Closed:
		t.Error("closed with a connection on it")
	default:
	}
	s.open["dev0"] = again
	if err := s.leave(old); err != nil || s.open["dev0"] != again {
		t.Errorf("in the place of the next: %v", err)
	}
	<-old.Closed
}
