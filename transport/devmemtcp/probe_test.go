package devmemtcp

import (
	"strings"
	"testing"

	"hbmfs/transport/devmemtcp/internal/nic"
)

// TestJudge: a NIC fits if all is there, or was not tried, and its row says the
// same as that of devmem-tcp.
func TestJudge(t *testing.T) {
	for what, c := range map[string]struct {
		change func(*nic.Report)
		want   string // in what is said
		fit    bool
	}{
		"all there":      {func(*nic.Report) {}, "--nic eth1", true},
		"bind not tried": {func(n *nic.Report) { n.Bind = nic.Need{Untried: true} }, "--nic eth1", true},
		"bind refused":   {func(n *nic.Report) { n.Bind.OK = false }, "has what it takes", false},
		"no split":       {func(n *nic.Report) { n.Split.OK = false }, "has what it takes", false},
		"no threshold":   {func(n *nic.Report) { n.HDSThresh.OK = false }, "has what it takes", false},
		"no steering":    {func(n *nic.Report) { n.FlowSteering.OK = false }, "has what it takes", false},
		"no RSS":         {func(n *nic.Report) { n.RSS.OK = false }, "has what it takes", false},
		"down":           {func(n *nic.Report) { n.Up = false }, "has what it takes", false},
		"one queue":      {func(n *nic.Report) { n.Queues = 1 }, "has what it takes", false},
		"queue taken": {func(n *nic.Report) {
			n.FreeQueue, n.Bind = nic.Need{State: "queue 3 receives"}, nic.Need{Untried: true}
		}, "in use: eth1 (queue 3 receives)", false},
	} {
		yes := nic.Need{OK: true}
		n := nic.Report{Name: "eth1", Up: true, Queues: 4, Ring: 64, Split: yes, HDSThresh: yes, FlowSteering: yes, RSS: yes, FreeQueue: yes, Bind: yes}
		c.change(&n)
		said, err := judge([]nic.Report{n})
		if err != nil {
			said = err.Error()
		}
		if (err == nil) != c.fit || !strings.Contains(said, c.want) {
			t.Errorf("%s: %q, %v", what, said, err)
		}
		if text, err := describe(n); (err == nil) != c.fit {
			t.Errorf("%s: the NIC's own row says otherwise: %q, %v", what, text, err)
		}
	}
}
