package main

import (
	"context"
	"net"
	"os/exec"
	"strconv"
	"syscall"
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
	cmd := exec.Command(sftpTool.program, "-R")
	cmd.Stdin, cmd.Stdout = f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	_ = cmd.Run()
}

// onSSHFS measures something on a tree that sshfs has just mounted.
func (s *stage) onSSHFS(port, tree string, do func(context.Context, string) (float64, error)) measure {
	return func(ctx context.Context) (v float64, err error) {
		dir, err := s.mountPoint()
		if err != nil {
			return 0, err
		}
		p, err := mount(ctx, dir, "sshfs", "-f", "-o", "ro,directport="+port, "127.0.0.1:"+tree, dir)
		if err != nil {
			return 0, err
		}
		defer func() {
			if downErr := unmount(dir, p); err == nil {
				err = downErr
			}
		}()
		return do(ctx, dir)
	}
}
