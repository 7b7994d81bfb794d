package device

import (
	"bufio"
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// headroom is what is left to the process for all else, in bytes.
const headroom = 64 << 20

// hostRoom is what memory and the limits of control groups leave for a region.
// Swap does not count: memory that stands in for a device's must not go there.
func hostRoom() (Room, error) { return roomBelow("/") }

// roomBelow reads /proc and /sys below root.
func roomBelow(root string) (Room, error) {
	room, err := availableRoom(filepath.Join(root, "proc/meminfo"))
	if err != nil {
		return room, err
	}
	groups, err := memoryGroups(root)
	if err != nil {
		return room, err
	}
	for _, g := range groups {
		if r, ok := g.room(); ok && r.Bytes < room.Bytes {
			room = r
		}
	}
	room.Bytes = max(0, room.Bytes-headroom-unfilled())
	return room, nil
}

// availableRoom is what the kernel reckons can be had without swapping. The
// sizes in meminfo are in KiB.
func availableRoom(meminfo string) (Room, error) {
	text, err := os.ReadFile(meminfo)
	if err != nil {
		return Room{}, err
	}
	kib, ok := counterIn(text, "MemAvailable:")
	if !ok {
		return Room{math.MaxInt64, "nothing"}, nil
	}
	bytes := kib << 10
	return Room{bytes, fmt.Sprintf("the %d MiB of memory that are available on this host (MemAvailable); end what uses it", bytes>>20)}, nil
}

// counterIn returns the number after a name at the start of a line.
func counterIn(text []byte, name string) (int64, bool) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != name {
			continue
		}
		n, err := strconv.ParseInt(fields[1], 10, 64)
		return n, err == nil && n >= 0 && n <= math.MaxInt64>>10
	}
	return 0, false
}

// promised are the regions of this process, by their memfd, with their size in
// bytes. A memfd has memory only for what was used of it.
var promised = struct {
	sync.Mutex
	size map[int]int64
}{size: make(map[int]int64)}

func promise(fd int, size int64) {
	promised.Lock()
	defer promised.Unlock()
	promised.size[fd] = size
}

// unpromise comes before the memfd is closed: its number may be another's then.
func unpromise(fd int) {
	promised.Lock()
	defer promised.Unlock()
	delete(promised.size, fd)
}

// unfilled is how many bytes all regions still lack.
func unfilled() (n int64) {
	const block = 512 // of st_blocks, as stat(2) has it
	promised.Lock()
	defer promised.Unlock()
	for fd, size := range promised.size {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil {
			n += max(0, size-st.Blocks*block)
		}
	}
	return n
}
