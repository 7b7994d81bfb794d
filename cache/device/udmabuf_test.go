package device

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/transport"
)

func newUdmabuf(t *testing.T, size int64) Region {
	t.Helper()
	if _, err := os.Stat(udmabufNode); err != nil {
		unsupported(t, err.Error()+" (make lab has it)")
	}
	return newRegion(t, udmabuf{}, size)
}

// TestUdmabufIsTheMemfd reads through the dma-buf what was stored in the file's
// mapping, and the other way round.
func TestUdmabufIsTheMemfd(t *testing.T) {
	r := newUdmabuf(t, 1<<20)
	fill(r)
	fd, off, ok := r.DMABuf()
	if !ok || off != 0 {
		t.Fatalf("dma-buf %d at %d, %v", fd, off, ok)
	}
	mem, err := unix.Mmap(fd, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mem)
	checkFill(t, mem)
	copy(mem[4096:], "by dma")
	if !bytes.HasPrefix(r.Bytes()[4096:], []byte("by dma")) {
		t.Error("the region does not show what was stored through its dma-buf")
	}
}

func TestUdmabufSizeIsExact(t *testing.T) {
	r := newUdmabuf(t, 4097)
	if r.Size() != 4097 || len(r.Bytes()) != 4097 {
		t.Errorf("size %d, %d bytes", r.Size(), len(r.Bytes()))
	}
}

func TestUdmabufOverLimit(t *testing.T) {
	newUdmabuf(t, 4096)
	before := countFDs(t)
	_, err := udmabuf{}.Alloc(transport.Domain{}, 1<<40)
	if err == nil || !strings.Contains(err.Error(), udmabufLimit) {
		t.Errorf("a region of 1 TiB: %v", err)
	}
	if after := countFDs(t); after != before {
		t.Errorf("%d descriptors after the failure, %d before", after, before)
	}
}

func TestUdmabufAbsent(t *testing.T) {
	if _, err := os.Stat(udmabufNode); err == nil {
		unsupported(t, "a host without "+udmabufNode)
	}
	_, err := udmabuf{}.Alloc(transport.Domain{}, 4096)
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "modprobe udmabuf") {
		t.Errorf("got %v", err)
	}
}
