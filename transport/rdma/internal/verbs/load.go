//go:build linux && cgo

package verbs

// #cgo CFLAGS: -Wall -Wextra
// #cgo LDFLAGS: -ldl
// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
)

// Built is nil: this build has RDMA.
func Built() error { return nil }

// Load opens libibverbs.so.1 and librdmacm.so.1 once for the process. It
// returns an error wrapping [ErrUnsupported] that names the missing library and
// the Debian package that has it.
func Load() error { return load() }

var load = sync.OnceValue(func() error {
	var why [256]C.char
	stage := C.hb_load(&why[0], C.int(len(why)))
	return loadError(int(stage), C.GoString(&why[0]))
})

// loadError words the answer of hb_load.
func loadError(stage int, why string) error {
	switch stage {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("%w: libibverbs.so.1: %s: install the packages libibverbs1 and ibverbs-providers", ErrUnsupported, why)
	default:
		return fmt.Errorf("%w: librdmacm.so.1: %s: install the package librdmacm1", ErrUnsupported, why)
	}
}

// failed makes an error that keeps op and errno; nil of rc 0.
func failed(op string, rc C.int) error {
	if rc == 0 {
		return nil
	}
	return os.NewSyscallError(op, syscall.Errno(rc))
}

// failedHost is failed for the calls that find out whether the host has RDMA.
func failedHost(op string, rc C.int) error {
	err := failed(op, rc)
	if errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ENOENT) {
		return fmt.Errorf("%w: %w: load the kernel modules ib_uverbs and rdma_ucm, and the device's", ErrUnsupported, err)
	}
	return err
}
