package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// shared is the network of every guest; %s is the guest's number.
const shared = `link set lo up
link set eth0 mtu 9000 up
addr add 10.77.0.%[1]s/24 dev eth0
addr add fd77::%[1]s/64 dev eth0 nodad
`

// alone is a network within the first guest, for both ends on one host.
const alone = `link set dummy0 name lab0
link set lab0 mtu 9000 up
addr add 10.78.0.1/24 dev lab0
`

// setUpNetwork gives the guest its addresses and its RDMA devices.
func setUpNetwork() error {
	if err := os.Setenv("PATH", searchPath); err != nil {
		return err
	}
	guest := os.Getenv("lab_guest")
	network := fmt.Sprintf(shared, guest)
	rdma := "link add rxe0 type rxe netdev eth0\n"
	if guest == "1" {
		network += alone
		rdma += "link add rxe1 type rxe netdev lab0\n"
	}
	if err := batch("ip", network); err != nil {
		return err
	}
	return batch("rdma", rdma)
}

// batch has a program of iproute2 run one command a line.
func batch(program, commands string) error {
	cmd := exec.Command(program, "-b", "-")
	cmd.Stdin = strings.NewReader(commands)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, out)
	}
	return nil
}
