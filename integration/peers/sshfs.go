package main

import (
	"context"
	"net"
	"strconv"

	"hbmfs/integration/process"
)

// serveSFTP listens on loopback and hands each connection to an sftp-server:
// what sshd does, without the encryption. It returns the port.
func (s *stage) serveSFTP() (string, error) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return "", err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			go runSFTP(c)
		}
	}()
	s.undo.add(func() error {
		err := l.Close()
		<-done
		return err
	})
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), nil
}

// runSFTP runs an sftp-server on a connection. It ends with the connection,
// which sshfs closes when it is unmounted; how it ends says nothing.
func runSFTP(c *net.TCPConn) {
	defer c.Close()
	f, err := c.File()
	if err != nil {
		return
	}
	defer f.Close()
	cmd := process.Command(sftpTool, "-R")
	cmd.Stdin, cmd.Stdout = f, f
	_ = cmd.Run()
}

// sshfs mounts a tree.
func (s *stage) sshfs(port, tree string) mounting {
	return func(ctx context.Context) (string, func() error, error) {
		return s.mount(ctx, "sshfs", func(dir string) []string {
			return []string{"-f", "-o", "ro,directport=" + port, "127.0.0.1:" + tree, dir}
		})
	}
}
