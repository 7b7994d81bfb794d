package main

import (
	"strings"
	"testing"

	"hbmfs/cmd/hbmfs/internal/size"
	"hbmfs/transport"
	"hbmfs/transport/tcp"
)

// TestExtentTooLarge: an extent that no request can carry is refused at once.
func TestExtentTooLarge(t *testing.T) {
	check := func(extent size.Bytes) error {
		o := mountOptions{extent: extent}
		return o.checkExtent([]transport.Verdict{{Name: tcp.Name, Plan: transport.Plan{MaxLen: tcp.MaxLen}, Chosen: true}, {}})
	}
	if err := check(tcp.MaxLen); err != nil {
		t.Error(err)
	}
	err := check(2 * tcp.MaxLen)
	if exitCode(err) != exitUsage || !strings.Contains(err.Error(), "tcp carries 16MiB") {
		t.Errorf("an extent of twice the largest request: %v", err)
	}
}
