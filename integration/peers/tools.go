package main

import (
	"maps"
	"os/exec"
	"slices"
	"strings"

	"hbmfs/integration/packages"
)

// Programs that rows need.
const (
	nbdkitTool  = "nbdkit"
	nbdcopyTool = "nbdcopy"
	nbdfuseTool = "nbdfuse"
	sshfsTool   = "sshfs"
	sftpTool    = "/usr/lib/openssh/sftp-server"
	iperfTool   = "iperf3"
	fioTool     = "fio"
	findTool    = "find"

	glusterdTool   = "glusterd"
	glusterTool    = "gluster"
	glusterfsdTool = "glusterfsd"
	glusterfsTool  = "glusterfs"
)

// beforeTools build the program of before.
var beforeTools = []string{"git", "tar"}

// missingTools says which programs are not installed and how to install them;
// "" if none is missing.
func missingTools(needs []string) string {
	var programs []string
	names := map[string]bool{}
	for _, tool := range needs {
		if _, err := exec.LookPath(tool); err != nil {
			programs = append(programs, tool)
			names[packages.With(tool)] = true
		}
	}
	if len(programs) == 0 {
		return ""
	}
	return strings.Join(programs, ", ") + " not installed: apt-get install " +
		strings.Join(slices.Sorted(maps.Keys(names)), " ")
}
