package main

import (
	"net"
)

// freePort returns a loopback port that nobody listened on a moment ago, for
// programs that can't choose one and say which.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}
