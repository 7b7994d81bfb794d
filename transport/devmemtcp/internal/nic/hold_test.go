package nic

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"hbmfs/cache/device"
	"hbmfs/transport"
)

// holderEnv has the test binary be a process that takes the NIC and waits to be
// killed; it names the state directory.
const holderEnv = "HBMFS_TEST_HOLDER"

// loopEnv has that process close the NIC and take it again, for ever.
const loopEnv = "HBMFS_TEST_HOLDER_LOOPS"

// hold takes two queues, steers, binds, and says so.
func hold(dir string) {
	n, err := takeAll(dir)
	fmt.Println("holds", err)
	for err == nil && os.Getenv(loopEnv) != "" {
		if err = n.Close(); err == nil {
			n, err = takeAll(dir)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "holder:", err)
		os.Exit(1)
	}
	time.Sleep(time.Hour)
}

func takeAll(dir string) (*NIC, error) {
	n, err := Open(Config{Name: os.Getenv(nicEnv), Queues: 2, StateDir: dir})
	if err != nil {
		return nil, err
	}
	return n, steerAndBind(n)
}

func steerAndBind(n *NIC) error {
	for _, a := range [][2]string{{"10.9.9.1:4000", "10.9.9.2:5000"}, {"[fd09::1]:4000", "[fd09::2]:5000"}} {
		if _, err := n.Steer(addr(a[0]), addr(a[1]), n.Queues()[1]); err != nil {
			return err
		}
	}
	region, err := newRegion()
	if err != nil {
		return err
	}
	defer region.Close()
	fd, _, _ := region.DMABuf()
	_, err = n.Bind(fd)
	return err
}

func newRegion() (device.Region, error) {
	p, err := device.Open("udmabuf")
	if err != nil {
		return nil, err
	}
	return p.Alloc(transport.Domain{}, 8<<20)
}

// startHolder gives a process that holds the NIC.
func startHolder(t *testing.T, name, dir string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = slices.Concat(os.Environ(), []string{holderEnv + "=" + dir, nicEnv + "=" + name}, env)
	cmd.Stderr = os.Stderr
	out := must(cmd.StdoutPipe())(t)
	check(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if strings.TrimSpace(line) != "holds <nil>" {
		t.Fatalf("holder: %q, %v", line, err)
	}
	return cmd
}
