package tests

import (
	"errors"
	"io"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

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

// TestDevicesDMABuf: a program has the dma-buf that its bytes are in, if the mount was
// told to; of another device there is none.
func TestDevicesDMABuf(t *testing.T) {
	startTarget(t, big(1, 1))
	for _, told := range []bool{false, true} {
		flags := []string{"--transport", "tcp", "--device", "memfd,udmabuf", "--pool", smallPool}
		if told {
			flags = append(flags, "--export-dmabuf")
		}
		f := startMount(t, flags...).open(t, "f1", 1, 1)
		for device, want := range []error{syscall.EOPNOTSUPP, nil} {
			if !told {
				want = syscall.EPERM
			}
			r, err := f.Fetch(t.Context(), 4096, megabyte, client.FetchOptions{Device: uint32(device)})
			if err != nil {
				t.Fatal(err)
			}
			fd, off, err := f.Mount().DMABuf(r.Segments[0].Region)
			if !errors.Is(err, want) {
				t.Errorf("told: %t, device %d: %v, want %v", told, device, err, want)
			}
			if err != nil {
				continue
			}
			checkDMABuf(t, fd, off, r)
		}
	}
}

// checkDMABuf looks for a lease's bytes in a dma-buf, and closes it.
func checkDMABuf(t *testing.T, fd int, off int64, r *client.Lease) {
	t.Helper()
	defer unix.Close(fd)
	size, err := unix.Seek(fd, 0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	mem, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mem)
	for _, s := range r.Segments {
		if err := wrongWords(mem[off+s.RegionOffset:][:s.Length], 1, 1, s.FileOffset); err != nil {
			t.Error(err)
		}
	}
}
