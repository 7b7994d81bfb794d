package device

import (
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// setSize gives a new memfd its size. The limit on the size of files
// (RLIMIT_FSIZE, ulimit -f) holds for memory too, where it is not meant: it is
// raised first, as far as this process may.
func setSize(fd int, size int64) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		return os.NewSyscallError("getrlimit", err)
	}
	if limit.Cur < uint64(size) {
		limit = raiseFileSize(limit)
	}
	if limit.Cur < uint64(size) {
		return fmt.Errorf("%w: the limit on the size of files (ulimit -f) is %d bytes, and holds for device memory in files: raise it", unix.EFBIG, limit.Cur)
	}
	return os.NewSyscallError("ftruncate", unix.Ftruncate(fd, size))
}

// raiseFileSize raises the limit, and returns what it is then.
func raiseFileSize(limit unix.Rlimit) unix.Rlimit {
	for _, hard := range []uint64{math.MaxUint64, limit.Max} { // the first takes CAP_SYS_RESOURCE
		more := unix.Rlimit{Cur: hard, Max: hard}
		if unix.Setrlimit(unix.RLIMIT_FSIZE, &more) == nil {
			return more
		}
	}
	return limit
}
