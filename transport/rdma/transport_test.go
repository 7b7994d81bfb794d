package rdma

import (
	"errors"
	"testing"

	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/rdma/internal/verbs"
	"hbmfs/transport/transporttest"
)

// TestWithoutDevice asks for what a host without RDMA can't do: the error says
// so. Where there is a device, it says of each memory how it is reached.
func TestWithoutDevice(t *testing.T) {
	names, err := verbs.Devices()
	if err == nil && len(names) > 0 {
		if p, err := New().Plan(transporttest.NewFakeDevice(t, 4096)); err != nil || p.Path != uapi.PathStaged || p.Why != uapi.WhyNotRegistered {
			t.Errorf("%+v, %v", p, err)
		}
		return
	}
	if _, err := New().Plan(transporttest.NewMapped(8)); !errors.Is(err, transport.ErrUnavailable) {
		t.Errorf("plan: %v", err)
	}
	_, err = New().Dial(t.Context(), transport.Session{Addr: "127.0.0.1:1", Connections: 1})
	if !errors.Is(err, transport.ErrUnavailable) && !errors.Is(err, transport.ErrConnLost) {
		t.Errorf("dial: %v", err)
	}
}

func TestPlanRefusesRevoked(t *testing.T) {
	dev := transporttest.NewFakeDevice(t, 8)
	dev.Revoke()
	if _, err := New().Plan(dev); !errors.Is(err, transport.ErrUnavailable) || !errors.Is(err, transport.ErrRevoked) {
		t.Error(err)
	}
}
