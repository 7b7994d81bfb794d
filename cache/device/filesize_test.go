package device

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/transport"
)

const limitedSize = 1 << 20

func allocLimited() error {
	r, err := memfd{}.Alloc(transport.Domain{}, limitedSize)
	if err != nil {
		return err
	}
	return r.Close()
}

// TestFileSizeLimit: a region may be larger than ulimit -f where that can be
// raised, and the error says what to do where it can't.
func TestFileSizeLimit(t *testing.T) {
	if os.Getenv("HBMFS_TEST_LIMITED") != "" {
		testLimitedForGood(t)
		return
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Max <= limitedSize {
		unsupported(t, "a higher limit on the size of files")
	}
	defer unix.Setrlimit(unix.RLIMIT_FSIZE, &limit)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: limitedSize / 2, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	if err := allocLimited(); err != nil {
		t.Error(err)
	}
	again := exec.Command("/proc/self/exe", "-test.run=^TestFileSizeLimit$")
	again.Env = append(os.Environ(), "HBMFS_TEST_LIMITED=1")
	if out, err := again.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// testLimitedForGood has a process of its own, which does not get over it.
func testLimitedForGood(t *testing.T) {
	runtime.LockOSThread() // capabilities are the thread's
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	err := unix.Capget(&header, &data[0])
	data[0].Effective &^= 1 << unix.CAP_SYS_RESOURCE
	if err == nil {
		err = unix.Capset(&header, &data[0])
	}
	for _, limit := range []uint64{limitedSize, limitedSize - 1} {
		if err == nil {
			err = unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: limit, Max: limit})
		}
		if err != nil {
			t.Fatal(err)
		}
		got := allocLimited()
		if limit == limitedSize && got != nil {
			t.Errorf("a limit of the region's size: %v", got)
		}
		if limit < limitedSize && (!errors.Is(got, unix.EFBIG) || !strings.Contains(got.Error(), "ulimit -f")) {
			t.Errorf("less than that: %v", got)
		}
	}
}
