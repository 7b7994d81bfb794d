package dir

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"hbmfs/remote/server/store"
	"hbmfs/remote/wire"
)

// statDevice describes the block device that name, an O_PATH descriptor, is of.
func statDevice(name int) (*wire.Attr, error) {
	if err := checkDevice(name); err != nil {
		return nil, err
	}
	fd, err := reopen(name)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	counters, err := openCounters(fd)
	if err != nil {
		return nil, err
	}
	defer unix.Close(counters)
	return statDisk(fd, counters)
}

// checkDevice returns nil if the descriptor name is of a block device, which is
// safe to open.
func checkDevice(name int) error {
	var st unix.Stat_t
	if err := unix.Fstat(name, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return unix.ENOTBLK
	}
	return nil
}

// statDisk describes an open block device as the regular file that a mount
// shows. Its sequence number tells one disk from the next in its place, and its
// counter of writes one content from the next.
func statDisk(fd, counters int) (*wire.Attr, error) {
	if err := checkReadOnly(fd); err != nil {
		return nil, err
	}
	writes, err := readWrites(counters)
	if err != nil {
		return nil, err
	}
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, statMask, &st); err != nil {
		return nil, os.NewSyscallError("statx", err)
	}
	size, err := unix.Seek(fd, 0, unix.SEEK_END)
	if err != nil {
		return nil, os.NewSyscallError("lseek", err)
	}
	st.Size = uint64(size)
	disk := binary.LittleEndian.AppendUint64(nil, diskSequence(fd))
	version := versionOf(&st, binary.LittleEndian.AppendUint64(disk, writes))
	attr := newAttr(&st)
	attr.Version = version[:]
	attr.Mode = unix.S_IFREG | uint32(st.Mode)&0o444
	attr.Rdev = 0
	attr.Blocks = attr.Size / 512
	return attr, nil
}

// diskSequence is 0 before Linux 5.15.
func diskSequence(fd int) uint64 {
	seq, err := unix.IoctlGetInt(fd, unix.BLKGETDISKSEQ)
	if err != nil {
		return 0
	}
	return uint64(seq)
}

var errWritable = fmt.Errorf("the block device has to be read-only (blockdev --setro), for everyone: %w", store.ErrWritable)

func checkReadOnly(fd int) error {
	ro, err := unix.IoctlGetUint32(fd, unix.BLKROGET)
	if err != nil {
		return fmt.Errorf("asking whether the block device is read-only: %w", err)
	}
	if ro == 0 {
		return errWritable
	}
	return nil
}

// openCounters opens the I/O counters of an open block device.
func openCounters(fd int) (int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return -1, os.NewSyscallError("fstat", err)
	}
	path := fmt.Sprintf("/sys/dev/block/%d:%d/stat", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	counters, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return counters, nil
}

// The columns of the kernel's Documentation/block/stat.rst that count changes.
const (
	writeColumn   = 4
	discardColumn = 11
)

var errCounters = errors.New("the kernel's counters of the block device can't be read")

// readWrites returns how many writes and discards the device has completed.
func readWrites(counters int) (uint64, error) {
	var buf [512]byte
	n, err := unix.Pread(counters, buf[:], 0)
	if err != nil {
		return 0, os.NewSyscallError("pread", err)
	}
	return parseWrites(buf[:n])
}

func parseWrites(line []byte) (uint64, error) {
	var columns [discardColumn + 1]uint64
	column, inside := -1, false
	for _, c := range line {
		digit := '0' <= c && c <= '9'
		if digit && !inside {
			column++
		}
		inside = digit
		if digit && column < len(columns) {
			columns[column] = columns[column]*10 + uint64(c-'0')
		}
	}
	if column < writeColumn {
		return 0, errCounters
	}
	return columns[writeColumn] + columns[discardColumn], nil // no discards before Linux 4.18
}
