package rdma

import (
	"fmt"

	"hbmfs/transport/rdma/internal/verbs"
)

// validMTU reports whether there is such a path MTU, in bytes.
func validMTU(n int) bool { return n >= 256 && n <= 4096 && n&(n-1) == 0 }

// portMTU is the active MTU of a device's port, in bytes.
func portMTU(ctx *verbs.Context, number uint8) (int, error) {
	p, err := ctx.Port(number)
	if err == nil && !p.Active {
		err = port{ctx.Name(), number}.down()
	}
	if err == nil && !validMTU(p.ActiveMTU) {
		err = fmt.Errorf("port %d has no path MTU that is known (%d bytes): check its network link", number, p.ActiveMTU)
	}
	return p.ActiveMTU, err
}
