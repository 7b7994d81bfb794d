package device

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"hbmfs/transport"
)

// hostExporters are those whose dma-bufs are pages of the host that stay where they
// are, so that the CPU can touch them at any time.
var hostExporters = []string{"udmabuf", "system"}

// Import takes a dma-buf of the host's memory, whose size never changes. What it is
// made of is pinned.
func (udmabuf) Import(dom transport.Domain, fd int, off, size int64) (Buffer, error) {
	if err := checkDMABuf(fd, off, size); err != nil {
		return nil, fmt.Errorf("udmabuf: import: %w", err)
	}
	r, own, err := importMapping("udmabuf", dom, fd, off, size)
	r.dmabuf = own
	if err != nil {
		return nil, fmt.Errorf("udmabuf: import: %w", errors.Join(err, r.Close()))
	}
	return r, nil
}

func checkDMABuf(fd int, off, size int64) error {
	if !isDMABuf(fd) {
		return refuse("%w: no dma-buf", ErrKind)
	}
	exporter, err := exporterOf(fd)
	if err != nil {
		return err
	}
	if !slices.Contains(hostExporters, exporter) {
		return refuse("%w: a dma-buf of %q, not of the host's memory", ErrKind, exporter)
	}
	have, err := unix.Seek(fd, 0, io.SeekEnd) // which moves nothing (dma_buf_llseek)
	if err != nil {
		return os.NewSyscallError("lseek", err)
	}
	return checkRange(off, size, have)
}

func isDMABuf(fd int) bool {
	var fs unix.Statfs_t
	return unix.Fstatfs(fd, &fs) == nil && fs.Type == unix.DMA_BUF_MAGIC
}

// exporterOf says who made a dma-buf (dma_buf_show_fdinfo in
// drivers/dma-buf/dma-buf.c, Linux 6.12).
func exporterOf(fd int) (string, error) {
	info, err := os.ReadFile(fmt.Sprint("/proc/self/fdinfo/", fd))
	if err != nil {
		return "", err
	}
	for line := range bytes.Lines(info) {
		if name, ok := bytes.CutPrefix(line, []byte("exp_name:")); ok {
			return string(bytes.TrimSpace(name)), nil
		}
	}
	return "", refuse("the kernel does not say who made it")
}
