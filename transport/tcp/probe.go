package tcp

import (
	"io"
	"net"
	"time"

	"hbmfs/transport/probe"
)

// probeTimeout bounds each step of the probe.
const probeTimeout = 5 * time.Second

// Probe sends a byte over a loopback connection.
func Probe() probe.Finding {
	return probe.Of("transport", Name, "bring up the loopback interface: ip link set lo up", func() (string, error) {
		return "a loopback connection carried a byte; path staged", loopByte()
	})
}

func loopByte() error {
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		return err
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = c.Write([]byte{1}) // the reader tells
			c.Close()
		}
	}()
	c, err := net.DialTimeout("tcp", l.Addr().String(), probeTimeout)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(probeTimeout))
	_, err = io.ReadFull(c, make([]byte, 1))
	return err
}
