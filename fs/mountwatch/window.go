package mountwatch

import (
	"os"
	"strconv"
)

// SetReadAhead sets the kernel's read-ahead window of a mount, in bytes. FUSE's
// own INIT cannot ask for more than 128 KiB.
func SetReadAhead(mountpoint string, size int) error {
	dev, err := Device(mountpoint)
	if err != nil {
		return err
	}
	return os.WriteFile("/sys/class/bdi/"+dev+"/read_ahead_kb", []byte(strconv.Itoa(size>>10)), 0)
}
