package main

import (
	"maps"
	"os/exec"
	"slices"
	"strings"
)

// tool is a program that a row needs and the Debian package that has it.
type tool struct{ program, pkg string }

var (
	nbdkitTool  = tool{"nbdkit", "nbdkit"}
	nbdcopyTool = tool{"nbdcopy", "libnbd-bin"}
	nbdfuseTool = tool{"nbdfuse", "libnbd-bin"}
	sshfsTool   = tool{"sshfs", "sshfs"}
	sftpTool    = tool{"/usr/lib/openssh/sftp-server", "openssh-sftp-server"}
	iperfTool   = tool{"iperf3", "iperf3"}
	fioTool     = tool{"fio", "fio"}
	findTool    = tool{"find", "findutils"}
)

// missingTools says which programs are not installed and how to install them;
// "" if none is missing.
func missingTools(needs []tool) string {
	var programs []string
	pkgs := map[string]bool{}
	for _, t := range needs {
		if _, err := exec.LookPath(t.program); err != nil {
			programs = append(programs, t.program)
			pkgs[t.pkg] = true
		}
	}
	if len(programs) == 0 {
		return ""
	}
	return strings.Join(programs, ", ") + " not installed: apt-get install " +
		strings.Join(slices.Sorted(maps.Keys(pkgs)), " ")
}
