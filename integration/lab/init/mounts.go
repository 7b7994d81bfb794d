package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"hbmfs/integration/lab/initramfs"
)

const (
	lower = "/lower" // the host's root, in the first root
	upper = "/upper" // what the guest writes
	root  = "/root"  // both, to become /
)

type mount struct {
	source, target, kind string
	flags                uintptr
	data                 string
}

func mountAll(mounts []mount) error {
	for _, m := range mounts {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.source, m.target, err)
		}
	}
	return nil
}

func mountKernel() error {
	return mountAll([]mount{
		{source: "proc", target: "/proc", kind: "proc"},
		{source: "sys", target: "/sys", kind: "sysfs"},
		{source: "dev", target: "/dev", kind: "devtmpfs"},
	})
}

func loadModules() error {
	order, err := os.ReadFile(initramfs.OrderFile)
	if err != nil {
		return err
	}
	for file := range strings.FieldsSeq(string(order)) {
		if err := loadModule(file); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

func loadModule(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.FinitModule(int(f.Fd()), "", 0)
}

// mountRoot makes the host's files, under a layer of the guest's own, the root.
func mountRoot() error {
	err := mountAll([]mount{
		{"host", lower, "9p", unix.MS_RDONLY, "trans=virtio,version=9p2000.L,cache=loose,msize=512000"},
		{source: "upper", target: upper, kind: "tmpfs"},
	})
	if err != nil {
		return err
	}
	for _, dir := range []string{upper + "/data", upper + "/work"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	modules := os.Getenv("lab_modules")
	err = mountAll([]mount{
		{"root", root, "overlay", 0, "lowerdir=" + lower + ",upperdir=" + upper + "/data,workdir=" + upper + "/work"},
		{source: lower, target: root + "/host", flags: unix.MS_BIND},
		{source: lower + modules, target: filepath.Join(root, "lib/modules", filepath.Base(modules)), flags: unix.MS_BIND},
		{source: "/dev", target: root + "/dev", flags: unix.MS_MOVE},
		{source: "/sys", target: root + "/sys", flags: unix.MS_MOVE},
		{source: "/proc", target: root + "/proc", flags: unix.MS_MOVE},
		{source: "pts", target: root + "/dev/pts", kind: "devpts", data: "ptmxmode=0666"},
		{source: "shm", target: root + "/dev/shm", kind: "tmpfs"},
		{source: "tmp", target: root + "/tmp", kind: "tmpfs"},
		{source: "run", target: root + "/run", kind: "tmpfs"},
	})
	if err != nil {
		return err
	}
	return switchRoot()
}

func switchRoot() error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return err
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	return os.Chdir("/")
}
