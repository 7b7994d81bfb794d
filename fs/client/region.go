package client

import (
	"errors"
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"

	"hbmfs/fs/uapi"
)

// Bytes returns the bytes of a segment, in place and read-only. The segment's
// region is mapped when it is first used, and stays mapped until [Mount.Close].
// Writing to the slice ends the program. See the package's comment for how long
// it is valid.
//
// It fails where the CPU cannot address the device's memory ([Device.CPU]).
// Errors wrap [ErrClosed], [ErrProtocol], or what the control socket answered.
func (m *Mount) Bytes(s Segment) ([]byte, error) {
	r, err := m.region(s.Region)
	if err != nil {
		return nil, fmt.Errorf("hbmfs: region %d of %s: %w", s.Region, m.root, err)
	}
	if s.RegionOffset < 0 || s.Length < 0 || s.RegionOffset > int64(len(r))-s.Length {
		return nil, fmt.Errorf("hbmfs: region %d of %s: %w: it has %d bytes, and a segment has %d at %d",
			s.Region, m.root, ErrProtocol, len(r), s.Length, s.RegionOffset)
	}
	end := s.RegionOffset + s.Length
	return r[s.RegionOffset:end:end], nil
}

// region returns the mapping of a region, and maps it if need be.
func (m *Mount) region(id uint32) ([]byte, error) {
	m.mu.RLock()
	r, ok := m.regions[id]
	closed := m.closed
	m.mu.RUnlock()
	if closed {
		return nil, ErrClosed
	}
	if ok {
		return r, nil
	}
	mapped, err := m.mapRegion(id)
	if err != nil {
		return nil, err
	}
	r, err = m.keep(id, mapped)
	if err != nil || &r[0] != &mapped[0] {
		err = errors.Join(err, unix.Munmap(mapped))
	}
	return r, err
}

// keep enters a mapping into the table, unless another goroutine was faster,
// and returns what the table then has.
func (m *Mount) keep(id uint32, mapped []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	if first, ok := m.regions[id]; ok {
		return first, nil
	}
	m.regions[id] = mapped
	return mapped, nil
}

// mapRegion asks the mount for a region's descriptor and maps it.
func (m *Mount) mapRegion(id uint32) ([]byte, error) {
	a, err := m.ctl.ask(uapi.CtlRequest{Size: uint32(uapi.CtlRequestSize), Op: uapi.CtlRegion, Region: id})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, fmt.Errorf("%w: its device's memory is not for the CPU; Info tells", err)
	}
	if err != nil {
		return nil, err
	}
	fd := a.fds[0]
	defer unix.Close(fd)
	return mapDescriptor(fd, a.reply.FDOffset, a.reply.Length)
}

// mapDescriptor maps length bytes of fd read-only. It maps nothing that fd does
// not hold, since touching that would end the program.
func mapDescriptor(fd int, offset, length uint64) ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	if st.Size < 0 || offset > uint64(st.Size) || length > uint64(st.Size)-offset {
		return nil, fmt.Errorf("%w: %d bytes at %d of a descriptor of %d", ErrProtocol, length, offset, st.Size)
	}
	if offset%uint64(os.Getpagesize()) != 0 {
		return nil, fmt.Errorf("%w: it starts at %d, within a page", ErrProtocol, offset)
	}
	if length > math.MaxInt {
		return nil, fmt.Errorf("%d bytes are more than this process can map", length)
	}
	r, err := unix.Mmap(fd, int64(offset), int(length), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w (is the device's memory addressable by the CPU? Info tells)", length, err)
	}
	return r, nil
}
