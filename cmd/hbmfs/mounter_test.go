package main

import (
	"strings"
	"testing"

	"hbmfs/cache/device"
	"hbmfs/transport"
	"hbmfs/transport/tcp"
)

// TestExtentTooLarge: an extent that no request can carry is refused at once.
func TestExtentTooLarge(t *testing.T) {
	provider, err := device.Open("memfd")
	if err != nil {
		t.Fatal(err)
	}
	selectWith := func(extent byteSize) error {
		m := mounter{o: mountOptions{extent: extent, transport: transport.Auto}}
		_, err := m.selectPath(provider, []string{tcp.Name}, m.candidates(nil))
		return err
	}
	if err := selectWith(tcp.MaxLen); err != nil {
		t.Error(err)
	}
	err = selectWith(2 * tcp.MaxLen)
	if exitCode(err) != exitUsage || !strings.Contains(err.Error(), "tcp carries 16MiB") {
		t.Errorf("an extent of twice the largest request: %v", err)
	}
}
