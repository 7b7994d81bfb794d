package tests

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"hbmfs/integration/lab/agent"
)

// TestMemnicPlain sends by ordinary TCP, both ways, with and without
// header/data split.
func TestMemnicPlain(t *testing.T) {
	w := newWire(t)
	const size = 8 << 20
	w.child(receiveNS, "plain", ":"+plainPort).WaitLine(t, "listening")
	w.child(sendNS, "plain", ":"+plainPort).WaitLine(t, "listening")
	for _, split := range []string{"off", "on"} {
		w.split(receiveNS, "mem1", split)
		w.split(sendNS, "mem0", split)
		before := w.counters()
		for _, to := range []string{receiveAddr, receiveAddr6} {
			w.send(to, plainPort, size)
		}
		back := w.child(receiveNS, "send", sendAddr+":"+plainPort, fmt.Sprint(size))
		if exit := back.Wait(t); exit != (agent.Exit{}) {
			t.Fatalf("back: %v: %s", exit, back.Output())
		}
		var host, splits, whole int64
		for q := range 4 {
			m := w.moved(before, q)
			host, splits, whole = host+m["host_bytes"], splits+m["split_packets"], whole+m["unsplit_packets"]
			if m["dmabuf_bytes"] != 0 {
				t.Errorf("split %s: queue %d: %v", split, q, m)
			}
		}
		if host < 2*size || (splits > 0) != (split == "on") || (whole > 0) != (split == "off") {
			t.Errorf("split %s: %d bytes, %d split and %d whole packets", split, host, splits, whole)
		}
	}
}

// TestMemnicSteering shows the rules that are kept, and whom they concern.
func TestMemnicSteering(t *testing.T) {
	w := newWire(t)
	w.steer()
	w.in(receiveNS, "ethtool", "-N", "mem1", "flow-type", "tcp4", "src-ip", sendAddr, "dst-ip", receiveAddr,
		"src-port", "9", "dst-port", "9", "action", "3", "loc", "40")
	rules := w.in(receiveNS, "ethtool", "-n", "mem1")
	if !strings.Contains(rules, "Total 3 rules") || !strings.Contains(rules, "Filter: 40") {
		t.Errorf("rules:\n%s", rules)
	}
	w.child(receiveNS, "plain", ":"+plainPort).WaitLine(t, "listening")
	w.child(receiveNS, "plain", ":"+devmemPort).WaitLine(t, "listening")
	before := w.counters()
	w.send(receiveAddr, plainPort, 1<<20)
	if m := w.moved(before, 0); m["host_bytes"] < 1<<20 || m["rule_hits"] != 0 {
		t.Errorf("without a rule, queue 0: %v", m)
	}
	w.send(receiveAddr, devmemPort, 1<<20)
	w.send(receiveAddr6, devmemPort, 1<<20)
	if m := w.moved(before, 1); m["host_bytes"] < 2<<20 || m["rule_hits"] < m["split_packets"] || m["rule_hits"] == 0 {
		t.Errorf("with a rule, queue 1: %v", m)
	}
	w.in(receiveNS, "ethtool", "-N", "mem1", "delete", "40")
	w.in(receiveNS, "ethtool", "-N", "mem1", "delete", "0")
	before = w.counters()
	w.send(receiveAddr, devmemPort, 1<<20)
	if m := w.moved(before, 0); m["host_bytes"] < 1<<20 {
		t.Errorf("without the rule, queue 0: %v", m)
	}
	for q := 1; q < 4; q++ {
		if m := w.moved(before, q); m["other_packets"]+m["split_packets"] != 0 {
			t.Errorf("out of the hash, queue %d: %v", q, m)
		}
	}
}

// transfer sends to the receiver and expects all payload in its dma-buf, and what
// the last line of the receiver's output says of it.
func (w *wire) transfer(r interface{ Output() string }, to string, size int64) {
	w.t.Helper()
	before := w.counters()
	seen := len(r.Output())
	w.send(to, devmemPort, size)
	var line string
	eventually(w.t, 30*time.Second, "the receiver's report", func() (err error) {
		var whole bool
		if line, whole = strings.CutSuffix(r.Output()[seen:], "\n"); !whole {
			err = fmt.Errorf("it is %q", line)
		}
		return err
	})
	if !strings.HasPrefix(line, fmt.Sprintf("received dmabuf %d linear 0 plain 0 ", size)) {
		w.t.Errorf("to %s: %s", to, line)
	}
	w.t.Logf("to %s: %s", to, line)
	m := w.moved(before, 1)
	if m["dmabuf_bytes"] < size || m["host_bytes"] != 0 || m["unsplit_packets"] != 0 || m["split_packets"] == 0 {
		w.t.Errorf("to %s: counters %v", to, m)
	}
}

// TestMemnicDevmem receives into a dma-buf, as 64 KiB segments and as such of one MTU.
func TestMemnicDevmem(t *testing.T) {
	w := newWire(t)
	w.steer()
	r := w.receiver()
	for _, tso := range []string{"on", "off"} {
		w.in(sendNS, "ethtool", "-K", "mem0", "tso", tso)
		for _, to := range []string{receiveAddr, receiveAddr6} {
			w.transfer(r, to, 32<<20)
		}
	}
	w.in(sendNS, "ip", "link", "set", "mem0", "mtu", "1500")
	w.transfer(r, receiveAddr, 8<<20)
}

// TestMemnicRefusals: what devmem TCP needs is refused without its conditions.
func TestMemnicRefusals(t *testing.T) {
	w := newWire(t)
	p := w.child(receiveNS, "devmem")
	if exit := p.Wait(t); exit.Code == 0 || !strings.Contains(p.Output(), "bind-rx: ") {
		t.Errorf("bound without split: %v %s", exit, p.Output())
	}
	t.Logf("without split: %s", p.Output())
	w.steer()
	w.receiver()
	for _, c := range []struct {
		what string
		p    interface {
			Wait(testing.TB) agent.Exit
			Output() string
		}
	}{
		{"split off while bound", w.child(receiveNS, "split", "mem1", "off")},
		{"second binding", w.child(receiveNS, "devmem")},
		{"no such queue", w.child(receiveNS, "devmem", "-queue", "4")},
		{"channels while bound", w.host.Start(t, "ip", "netns", "exec", receiveNS, "ethtool", "-L", "mem1", "combined", "1")},
	} {
		if exit := c.p.Wait(t); exit.Code == 0 {
			t.Errorf("%s: done", c.what)
		} else {
			t.Logf("%s: %s", c.what, strings.TrimSpace(c.p.Output()))
		}
	}
	w.in(receiveNS, "ip", "link", "set", "mem1", "down")
	p = w.child(receiveNS, "devmem", "-queue", "2")
	if exit := p.Wait(t); exit.Code == 0 || !strings.Contains(p.Output(), "network is down") {
		t.Errorf("bound while down: %v %s", exit, p.Output())
	}
}

// TestMemnicKilled: a killed receiver's queue serves anyone again.
func TestMemnicKilled(t *testing.T) {
	w := newWire(t)
	w.steer()
	r := w.receiver("-hold")
	w.sender(receiveAddr, devmemPort, 64<<20)
	w.awaitCounter("rx1_dmabuf_bytes", func(n int64) bool { return n > 1<<20 })
	r.Kill(t)
	r.Wait(t)
	w.awaitCounter("rx1_bound", func(n int64) bool { return n == 0 })
	w.child(receiveNS, "plain", ":"+devmemPort).WaitLine(t, "listening")
	before := w.counters()
	w.send(receiveAddr, devmemPort, 1<<20)
	if m := w.moved(before, 1); m["host_bytes"] < 1<<20 || m["dmabuf_bytes"] != 0 {
		t.Errorf("after the kill: %v", m)
	}
}

// TestMemnicLinkDown: a binding outlives the link.
func TestMemnicLinkDown(t *testing.T) {
	w := newWire(t)
	w.steer()
	r := w.receiver()
	w.transfer(r, receiveAddr, 4<<20)
	for range 3 {
		w.in(receiveNS, "ip", "link", "set", "mem1", "down")
		w.in(receiveNS, "ip", "link", "set", "mem1", "up")
		w.transfer(r, receiveAddr, 4<<20)
		w.transfer(r, receiveAddr6, 4<<20)
	}
	// Bound and freed while down.
	w.in(receiveNS, "ip", "link", "set", "mem1", "down")
	r.Kill(t)
	r.Wait(t)
	w.in(receiveNS, "ip", "link", "set", "mem1", "up")
	w.awaitCounter("rx1_bound", func(n int64) bool { return n == 0 })
	w.transfer(w.receiver(), receiveAddr, 4<<20)
}

// TestMemnicRemoved takes the device or the driver away under a binding whose
// tokens are held, and then kills the holder.
func TestMemnicRemoved(t *testing.T) {
	for _, c := range []struct {
		name   string
		remove func(w *wire)
	}{
		{"rmmod", func(w *wire) { w.run("rmmod", "memnic") }},
		{"unbind", func(w *wire) {
			if err := os.WriteFile("/sys/bus/platform/drivers/memnic/unbind", []byte("memnic.1"), 0); err != nil {
				w.t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWire(t)
			w.steer()
			r := w.receiver("-hold")
			w.sender(receiveAddr, devmemPort, 64<<20)
			w.awaitCounter("rx1_dmabuf_bytes", func(n int64) bool { return n > 1<<20 })
			c.remove(w)
			r.Kill(t)
			r.Wait(t)
			if w.loaded() {
				w.run("rmmod", "memnic")
			}
			w.run("insmod", os.Getenv("HBMFS_MEMNIC"))
		})
	}
}

// TestMemnicLate binds under a connection: what came before is ordinary bytes,
// what comes after lies in the dma-buf.
func TestMemnicLate(t *testing.T) {
	w := newWire(t)
	w.steer()
	r := w.receiver("-late")
	const size = 32 << 20
	w.send(receiveAddr, devmemPort, size)
	var dmabuf, linear, plain int64
	line := r.WaitLine(t, "received")
	if _, err := fmt.Sscanf(line, "received dmabuf %d linear %d plain %d", &dmabuf, &linear, &plain); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	if dmabuf == 0 || plain == 0 || dmabuf+linear+plain != size {
		t.Error(line)
	}
	t.Log(line)
	w.transfer(r, receiveAddr, 4<<20)
}

// TestMemnicPlainRecv: a program that doesn't ask for device memory gets none.
func TestMemnicPlainRecv(t *testing.T) {
	w := newWire(t)
	w.steer()
	w.transfer(w.receiver("-plain"), receiveAddr, 1<<20)
}

// TestMemnicExhausted: a receiver that keeps its tokens stops the flow, and
// returning them lets it go on.
func TestMemnicExhausted(t *testing.T) {
	w := newWire(t)
	w.steer()
	r := w.receiver("-hold", "-size", fmt.Sprint(1<<20))
	const size = 4 << 20
	s := w.sender(receiveAddr, devmemPort, size)
	w.awaitCounter("rx1_nomem_drops", func(n int64) bool { return n > 2 })
	r.Signal(t, syscall.SIGUSR1)
	if exit := s.Wait(t); exit != (agent.Exit{}) {
		t.Fatalf("sender: %v: %s", exit, s.Output())
	}
	line := r.WaitLine(t, "received")
	if !strings.HasPrefix(line, fmt.Sprintf("received dmabuf %d linear 0 plain 0 ", size)) {
		t.Error(line)
	}
	t.Log(line, w.counters()["rx1_nomem_drops"])
}
