package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"hbmfs/integration/lab/initramfs"
	"hbmfs/integration/lab/kernel"
	"hbmfs/integration/packages"
)

// toolGrace is how long an interrupted go command has to clean up.
const toolGrace = 5 * time.Second

// modules are those that a guest loads, with what they need.
var modules = []string{
	"virtio_pci", "virtio_net", "9pnet_virtio", "9p", "overlay", "fuse",
	"rdma_rxe", "rdma_ucm", "ib_uverbs", "dummy", "veth",
}

// lab is what one run makes, and removes.
type lab struct {
	source  string // the module's root
	dir     string
	machine machine
	memnic  string // the kernel module's file
	uapi    string // directory of the kernel's headers for programs
}

// newLab makes all that guests need, with a kernel of a release, or the usual one if
// that is empty. Its close removes it.
func newLab(ctx context.Context, release string, kvm bool) (l *lab, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the lab needs root: it lets guests read the host's files as root")
	}
	if missing := packages.Missing(packages.Lab); len(missing) > 0 {
		return nil, fmt.Errorf("missing Debian packages; install: apt-get install --no-install-recommends %s", strings.Join(missing, " "))
	}
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	if strings.ContainsAny(cache, " \t\"") {
		return nil, fmt.Errorf("the cache %q has white space or quotes in its name, which a kernel's command line can't carry", cache)
	}
	k, err := kernel.Get(ctx, cache, release)
	if err != nil {
		return nil, err
	}
	source, err := moduleDir(ctx)
	if err != nil {
		return nil, err
	}
	memnic, err := kernel.Module(ctx, cache, k, "memnic", filepath.Join(source, "integration", "memnic"))
	if err != nil {
		return nil, err
	}
	// Short, for the sockets' names.
	dir, err := os.MkdirTemp("", "hbmfs-lab-")
	if err != nil {
		return nil, err
	}
	l = &lab{source: source, dir: dir, memnic: memnic, uapi: k.UAPI, machine: machine{
		dir: dir, image: k.Image, initrd: filepath.Join(dir, "initrd"), modules: k.ModuleDir, kvm: kvm,
	}}
	if err := l.buildInitrd(ctx); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *lab) close() error { return os.RemoveAll(l.dir) }

func (l *lab) buildInitrd(ctx context.Context) (err error) {
	program := filepath.Join(l.dir, "init")
	if _, err := goTool(ctx, []string{"CGO_ENABLED=0"}, "build", "-o", program, "hbmfs/integration/lab/init"); err != nil {
		return err
	}
	f, err := os.Create(l.machine.initrd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriter(f)
	spec := initramfs.Spec{Init: program, ModuleDir: l.machine.modules, Modules: modules}
	if err := initramfs.Build(ctx, w, spec); err != nil {
		return fmt.Errorf("build the initramfs: %w", err)
	}
	return w.Flush()
}

// cacheDir is where the kernel stays.
func cacheDir() (string, error) {
	if dir := os.Getenv("HBMFS_LAB_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "hbmfs-lab"), nil
}

// env is what programs find set in a guest.
func (l *lab) env() []string {
	return append([]string{"HBMFS_MEMNIC=" + hostRoot + l.memnic, "HBMFS_UAPI=" + hostRoot + l.uapi}, testEnv...)
}

// goTool runs the go command with more environment, and returns what it printed.
func goTool(ctx context.Context, env []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), env...)
	// Ended in time, the go command removes its work; its tools go with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = toolGrace
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s%s", strings.Join(args, " "), err, out, &said)
	}
	return string(out), nil
}
