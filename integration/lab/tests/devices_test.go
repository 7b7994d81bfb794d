package tests

import (
	"testing"

	"hbmfs/fs/client"
	"hbmfs/fs/uapi"
)

// TestDevicesFetch: a mount of two kinds of device memory brings the same bytes to
// each.
func TestDevicesFetch(t *testing.T) {
	startTarget(t, big(1, 1))
	m := startMount(t, "--transport", "tcp", "--device", "memfd,udmabuf", "--pool", smallPool)
	m.path = uapi.PathStaged
	f := m.open(t, "f1", 1, 1)
	for device := range uint32(2) {
		r, err := f.Fetch(t.Context(), 4096, 3*megabyte, client.FetchOptions{Device: device})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range r.Segments {
			b, err := f.Bytes(s)
			if err == nil {
				err = wrongWords(b, 1, 1, s.FileOffset)
			}
			if err != nil || s.Hit {
				t.Errorf("device %d: %+v: %v", device, s, err)
			}
		}
	}
	if s := m.stats(t); s.Cache.Regions != 2 || s.Devices[0].Name != "memfd" || s.Devices[1].Name != "udmabuf" {
		t.Errorf("%d regions, of %+v", s.Cache.Regions, s.Devices)
	}
}
