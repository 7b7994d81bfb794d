package main

import (
	"strings"
	"testing"

	"hbmfs/transport/devmemtcp"
)

// TestJudgeNICs: a NIC fits if all is there, or was not tried.
func TestJudgeNICs(t *testing.T) {
	for what, c := range map[string]struct {
		change func(*devmemtcp.NIC)
		want   string // in what is said
		fit    bool
	}{
		"all there":      {func(*devmemtcp.NIC) {}, "--nic eth1", true},
		"bind not tried": {func(n *devmemtcp.NIC) { n.Bind = devmemtcp.Need{Untried: true} }, "--nic eth1", true},
		"bind refused":   {func(n *devmemtcp.NIC) { n.Bind.OK = false }, "has what it takes", false},
		"no split":       {func(n *devmemtcp.NIC) { n.Split.OK = false }, "has what it takes", false},
		"no threshold":   {func(n *devmemtcp.NIC) { n.HDSThresh.OK = false }, "has what it takes", false},
		"no steering":    {func(n *devmemtcp.NIC) { n.FlowSteering.OK = false }, "has what it takes", false},
		"no RSS":         {func(n *devmemtcp.NIC) { n.RSS.OK = false }, "has what it takes", false},
		"down":           {func(n *devmemtcp.NIC) { n.Up = false }, "has what it takes", false},
		"one queue":      {func(n *devmemtcp.NIC) { n.Queues = 1 }, "has what it takes", false},
		"queue taken": {func(n *devmemtcp.NIC) {
			n.FreeQueue, n.Bind = devmemtcp.Need{State: "queue 3 receives"}, devmemtcp.Need{Untried: true}
		}, "in use: eth1 (queue 3 receives)", false},
	} {
		yes := devmemtcp.Need{OK: true}
		n := devmemtcp.NIC{Name: "eth1", Up: true, Queues: 4, Ring: 64, Split: yes, HDSThresh: yes, FlowSteering: yes, RSS: yes, FreeQueue: yes, Bind: yes}
		c.change(&n)
		said, err := judgeNICs([]devmemtcp.NIC{n})
		if err != nil {
			said = err.Error()
		}
		if (err == nil) != c.fit || !strings.Contains(said, c.want) {
			t.Errorf("%s: %q, %v", what, said, err)
		}
	}
}
