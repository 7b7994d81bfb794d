package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"hbmfs/integration/lab/agent"
)

// agentMode is the argument that makes this program the agent.
const agentMode = "agent"

// serve runs commands for the other guest and for the host, until the host
// hangs up.
func serve() error {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", agent.Port))
	if err != nil {
		return err
	}
	defer l.Close()
	go func() { _ = agent.Serve(l) }() // ends with l
	port, err := openPort("/sys/class/virtio-ports")
	if err != nil {
		return err
	}
	return agent.ServeConn(port)
}

// openPort opens the virtio port that the host listens at.
func openPort(class string) (*os.File, error) {
	names, err := filepath.Glob(filepath.Join(class, "*", "name"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if strings.TrimSpace(string(text)) == agent.PortName {
			return os.OpenFile(filepath.Join("/dev", filepath.Base(filepath.Dir(name))), os.O_RDWR, 0)
		}
	}
	return nil, fmt.Errorf("no virtio port is named %s", agent.PortName)
}
