package target

import (
	"errors"
	"log/slog"
	"net/netip"
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/rdma/internal/verbs"
	"hbmfs/transport/transporttest"
)

func TestListenWithoutDevice(t *testing.T) {
	if names, err := verbs.Devices(); err == nil && len(names) > 0 {
		t.Skip("unsupported: it wants a host without RDMA devices")
	}
	s := New(transporttest.NewSessions(), transporttest.Ample(), slog.New(slog.DiscardHandler))
	defer s.Close()
	if err := s.Listen(netip.MustParseAddrPort("127.0.0.1:0")); !errors.Is(err, transport.ErrUnavailable) {
		t.Errorf("listens, or %v", err)
	}
}
