// Package packages knows which Debian packages the project's own work uses beside
// Go, and installs them. A build, and most tests, need none of them.
//
// It owns the one list of them, and apt-get while that runs. It never removes a
// package, and holds no lock.
package packages

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Use is a set of purposes.
type Use uint8

// The purposes are targets of the Makefile.
const (
	Test Use = 1 << iota
	Check
	Bench
	Lab
)

// Uses are the purposes by their names.
var Uses = map[string]Use{"test": Test, "check": Check, "bench": Bench, "lab": Lab}

// pkg is a Debian package.
type pkg struct {
	name  string
	proof string // a program of it, or a pattern of a file's path
	use   Use
	arch  string // the only one that has it, as GOARCH; "": all
}

var list = []pkg{
	{"gcc", "gcc", Test | Check | Bench | Lab, ""},
	{"libc6-dev", "/usr/include/stdio.h", Test | Check | Bench | Lab, ""},
	{"g++", "g++", Test, ""},
	{"gcc-multilib", "/usr/lib/gcc/*/*/32/libgcc.a", Test, "amd64"},
	{"libibverbs-dev", "/usr/include/infiniband/verbs.h", Test | Check | Lab, ""},
	{"librdmacm-dev", "/usr/include/rdma/rdma_cma.h", Test | Check | Lab, ""},
	{"fuse3", "fusermount3", Test, ""},
	{"rsync", "rsync", Test, ""},
	{"cpio", "cpio", Test | Lab, ""},
	{"mount", "losetup", Test, ""},
	{"git", "git", Check | Test | Bench, ""},
	{"protobuf-compiler", "protoc", Check, ""},

	{"nbdkit", "nbdkit", Bench, ""},
	{"libnbd-bin", "nbdcopy", Bench, ""},
	{"libnbd-bin", "nbdfuse", Bench, ""},
	{"sshfs", "sshfs", Bench, ""},
	{"openssh-sftp-server", "/usr/lib/openssh/sftp-server", Bench, ""},
	{"iperf3", "iperf3", Bench, ""},
	{"fio", "fio", Bench, ""},
	{"findutils", "find", Bench, ""},
	{"tar", "tar", Bench, ""},
	{"glusterfs-server", "glusterd", Bench, ""},
	{"glusterfs-server", "gluster", Bench, ""},
	{"glusterfs-server", "glusterfsd", Bench, ""},
	{"glusterfs-server", "glusterfs", Bench, ""},

	{"qemu-system-x86", "qemu-system-x86_64", Lab, ""},
	{"kmod", "modprobe", Lab, ""},
	{"xz-utils", "xz", Lab, ""},
	{"zstd", "zstd", Lab, ""},
	{"iproute2", "ip", Lab, ""},
	{"busybox-static", "busybox", Lab, ""},
	{"rdma-core", "/usr/share/doc/rdma-core", Lab, ""},
	{"ibverbs-providers", "/etc/libibverbs.d/rxe.driver", Lab, ""},
	{"perftest", "ib_write_bw", Lab, ""},
	{"make", "make", Check | Lab, ""},
	{"ethtool", "ethtool", Lab, ""},
}

// Missing are the packages for a use that this machine lacks.
func Missing(use Use) []string {
	var missing []string
	for _, p := range list {
		if p.use&use != 0 && (p.arch == "" || p.arch == runtime.GOARCH) && !p.present() {
			missing = append(missing, p.name)
		}
	}
	return slices.Compact(missing)
}

// With is the package that has a program or file of the list; "" if none has.
func With(proof string) string {
	for _, p := range list {
		if p.proof == proof {
			return p.name
		}
	}
	return ""
}

func (p pkg) present() bool {
	if strings.HasPrefix(p.proof, "/") {
		found, err := filepath.Glob(p.proof)
		return err == nil && len(found) > 0
	}
	_, err := exec.LookPath(p.proof)
	return err == nil
}
