package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// errMissing says that the machine lacks packages.
var errMissing = errors.New("missing Debian packages")

// packages are the Debian packages of the lab, and a program or file of each.
var packages = []struct{ name, proof string }{
	{"qemu-system-x86", "qemu-system-x86_64"},
	{"kmod", "depmod"},
	{"xz-utils", "xz"},
	{"zstd", "zstd"},
	{"iproute2", "ip"},
	{"busybox-static", "busybox"},
	{"rdma-core", "/usr/share/doc/rdma-core"},
	{"libibverbs-dev", "/usr/include/infiniband/verbs.h"},
	{"librdmacm-dev", "/usr/include/rdma/rdma_cma.h"},
	{"ibverbs-providers", "/etc/libibverbs.d/rxe.driver"},
	{"perftest", "ib_write_bw"},
	{"make", "make"},
	{"gcc", "x86_64-linux-gnu-gcc"},
	{"ethtool", "ethtool"},
}

// missingPackages are those that this machine lacks.
func missingPackages() []string {
	var missing []string
	for _, p := range packages {
		if !present(p.proof) {
			missing = append(missing, p.name)
		}
	}
	return missing
}

func present(proof string) bool {
	if strings.HasPrefix(proof, "/") {
		_, err := os.Stat(proof)
		return err == nil
	}
	_, err := exec.LookPath(proof)
	return err == nil
}

func checkPackages() error {
	if missing := missingPackages(); len(missing) > 0 {
		return fmt.Errorf("%w; install: apt-get install --no-install-recommends %s", errMissing, strings.Join(missing, " "))
	}
	return nil
}
