// Package fuseprobe tries what a mount needs of a host.
package fuseprobe

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"hbmfs/transport/probe"
)

// Probe tries what is needed of the kernel and of fusermount3.
func Probe() []probe.Finding {
	root := os.Geteuid() == 0
	return []probe.Finding{
		probe.Of("mount", "/dev/fuse", "load the module (modprobe fuse), pass /dev/fuse into the container, or give this user access to it", tryDevice).Need(true),
		probe.Of("mount", "mount", "run as root (in a container: with CAP_SYS_ADMIN), or use fusermount3", tryMount).Need(root),
		probe.Of("mount", "fusermount3", "install Debian's fuse3; root does without", tryFusermount).Need(!root),
		probe.Of("mount", "read-ahead", "mount as root with a writable /sys, or else buffered reads over a network are slow", tryReadAhead),
	}
}

func tryDevice() (string, error) {
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	return "opened", f.Close()
}

// tryMount mounts a file system without a daemon, in a mount name space that
// dies with its thread, so that nothing of it is seen or left.
func tryMount() (string, error) {
	if _, err := tryDevice(); err != nil {
		return "", fmt.Errorf("%w: /dev/fuse can't be opened", probe.ErrUntried)
	}
	dir, err := os.MkdirTemp("", "hbmfs-doctor-")
	if err != nil {
		return "", err
	}
	defer os.Remove(dir)
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		done <- mountUnseen(dir)
	}()
	if err := <-done; err != nil {
		return "", err
	}
	return "mounted a fuse file system", nil
}

func mountUnseen(dir string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount private", err)
	}
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d", f.Fd(), os.Geteuid(), os.Getegid())
	if err := unix.Mount("hbmfs-doctor", dir, "fuse.hbmfs", unix.MS_NOSUID|unix.MS_NODEV, data); err != nil {
		return os.NewSyscallError("mount", err)
	}
	return unix.Unmount(dir, unix.MNT_DETACH)
}

func tryFusermount() (string, error) {
	path, err := exec.LookPath("fusermount3")
	if err != nil {
		return "", err
	}
	if err := exec.Command(path, "--version").Run(); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Mode()&os.ModeSetuid == 0 {
		return "", fmt.Errorf("%s is not set-user-ID root, so it can't mount for other users", path)
	}
	return path, nil
}

// tryReadAhead opens, without writing, what a mount writes its read-ahead to.
func tryReadAhead() (string, error) {
	files, _ := filepath.Glob("/sys/class/bdi/*/read_ahead_kb")
	if len(files) == 0 {
		return "", errors.New("no /sys/class/bdi/*/read_ahead_kb on this host")
	}
	f, err := os.OpenFile(files[0], os.O_WRONLY, 0)
	if err != nil {
		return "", err
	}
	return "read_ahead_kb is writable", f.Close()
}
