// Package initramfs builds the first file system of a guest: an init program
// and the kernel modules it loads. It owns the archive format and the order of
// the modules, and never touches anything outside what it is given.
//
// Nothing here is shared between goroutines.
package initramfs

import (
	"fmt"
	"io"
	"strings"
)

// entry is one file of an archive.
type entry struct {
	name string // without a leading slash
	mode uint32 // type and permissions, as in stat(2)
	data []byte
}

const (
	modeDir  = 0o040755
	modeFile = 0o100644
	modeProg = 0o100755

	trailer = "TRAILER!!!"
)

// archive writes the "newc" format of cpio: a header of 13 fields of eight
// hexadecimal digits, the name, the data, each padded to four bytes. See
// Documentation/driver-api/early-userspace/buffer-format.rst of Linux 6.12.
type archive struct {
	w     io.Writer
	inode int
	err   error
}

func (a *archive) add(e entry) {
	a.inode++
	const header = 110
	fields := [13]uint32{
		uint32(a.inode), e.mode, 0, 0, 1, 0, uint32(len(e.data)), 0, 0, 0, 0, uint32(len(e.name) + 1), 0,
	}
	var head strings.Builder
	head.WriteString("070701")
	for _, f := range fields {
		fmt.Fprintf(&head, "%08X", f)
	}
	head.WriteString(e.name + "\x00")
	a.write([]byte(head.String()), padding(header+len(e.name)+1))
	a.write(e.data, padding(len(e.data)))
}

func (a *archive) close() error {
	a.add(entry{name: trailer})
	return a.err
}

func (a *archive) write(data []byte, pad int) {
	for _, b := range [][]byte{data, make([]byte, pad)} {
		if a.err == nil {
			_, a.err = a.w.Write(b)
		}
	}
}

func padding(n int) int { return -n & 3 }
