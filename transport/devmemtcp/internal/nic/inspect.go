package nic

import (
	"fmt"
	"slices"
)

// Need is one thing that device memory TCP needs of a NIC.
type Need struct {
	OK      bool   `json:"ok"`                // it is there, or Open switches it on
	Untried bool   `json:"untried,omitempty"` // whether it is there was not found out
	State   string `json:"state"`             // what was found, or why it was not tried
	Remedy  string `json:"remedy,omitempty"`  // what would help
}

// Report says of a NIC what device memory TCP needs and what is there.
type Report struct {
	Name      string `json:"name"`
	Driver    string `json:"driver"`
	DMADevice string `json:"dma_device"` // bus/name
	Up        bool   `json:"up"`
	MTU       int    `json:"mtu"`
	Queues    int    `json:"queues"` // receive queues
	Ring      int    `json:"ring"`   // receive descriptors of a queue

	Split        Need `json:"split"`
	HDSThresh    Need `json:"hds_thresh"`
	FlowSteering Need `json:"flow_steering"`
	RSS          Need `json:"rss"`
	FreeQueue    Need `json:"free_queue"` // the last queue can be taken
	Bind         Need `json:"bind"`
}

// Inspect reports on every NIC of this network namespace that does DMA. It changes
// nothing: whether header split can be set is asked by setting it to what it is,
// and a binding is tried only on a NIC that is set up for it and that no process
// holds, on a queue that nobody else's packets come to; a negative dma-buf says
// not to.
func Inspect(dmabuf int) ([]Report, error) {
	k, err := openSockets()
	if err != nil {
		return nil, err
	}
	defer k.Close()
	return inspect(k, DefaultStateDir, dmabuf)
}

func inspect(k kernel, dir string, dmabuf int) ([]Report, error) {
	links, err := k.links()
	if err != nil {
		return nil, err
	}
	var all []Report
	for _, l := range links {
		if l.Parent != "" {
			all = append(all, report(k, l, dir, dmabuf))
		}
	}
	return all, nil
}

func report(k kernel, l link, dir string, dmabuf int) Report {
	r := Report{Name: l.Name, DMADevice: l.Parent, Up: l.Up, MTU: l.MTU}
	if driver, err := k.driver(l); err == nil {
		r.Driver = driver
	}
	ring := r.fillRings(k, l)
	r.FlowSteering = reportSteering(k, l)
	last := r.fillQueues(k, l)
	table, err := k.rss(l)
	r.RSS = answered(fmt.Sprintf("%d entries", len(table)), err)
	if reason := r.tooEarly(dmabuf, ring, last, table); reason != "" {
		r.Bind = Need{Untried: true, State: "not tried: " + reason}
		return r
	}
	r.Bind = tryBind(k, l, dir, dmabuf, last)
	return r
}

// tryBind holds the NIC meanwhile: nobody takes it half-way.
func tryBind(k kernel, l link, dir string, dmabuf, queue int) Need {
	s, err := claim(dir, l)
	if err != nil {
		return Need{Untried: true, State: fmt.Sprintf("not tried: %v", err)}
	}
	defer s.release()
	id, held, err := bind(k, l, dmabuf, []int{queue})
	if err == nil {
		err = held.Close()
	}
	return answered(fmt.Sprintf("queue %d took dma-buf binding %d", queue, id), err)
}

func (r *Report) fillRings(k kernel, l link) rings {
	ring, err := k.rings(l)
	r.Ring = ring.RX
	if err != nil {
		r.Split, r.HDSThresh = answered("", err), answered("", err)
		return ring
	}
	r.Split = reportSplit(k, l, ring.Split)
	r.HDSThresh = Need{OK: true, State: "none to set: the kernel has no such threshold"}
	if ring.HasThresh {
		r.HDSThresh.State = fmt.Sprintf("%d bytes", ring.Thresh)
	}
	return ring
}

// reportSplit asks by setting what is set: the driver is not called, and the
// kernel checks whether it could be (ethnl_set_rings, Linux 6.12).
func reportSplit(k kernel, l link, now splitMode) Need {
	if now == splitOn {
		return Need{OK: true, State: "on"}
	}
	return answered(now.String()+", can be set", k.setRings(l, ringChange{Split: &now}))
}

func reportSteering(k kernel, l link) Need {
	f, err := k.ntuple(l)
	switch {
	case err != nil:
		return answered("", err)
	case !f.On && !f.Changeable:
		return Need{State: "n-tuple filters are off and can't be switched on", Remedy: needNTuple.remedy}
	case !f.On:
		return Need{OK: true, State: "n-tuple filters are off, can be switched on"}
	}
	_, err = k.rules(l)
	return answered("n-tuple filters are on", err)
}

// fillQueues gives the last queue, or -1.
func (r *Report) fillQueues(k kernel, l link) int {
	all, err := k.queues(l)
	if r.Queues = len(all); err == nil {
		_, err = choose(l, all, 1)
	}
	if err != nil {
		r.FreeQueue = answered("", err)
		return -1
	}
	last := all[len(all)-1].ID
	err = unused(k, l, all, []int{last})
	r.FreeQueue = answered(fmt.Sprintf("queue %d", last), err)
	return last
}

// tooEarly says why a binding is not tried; "" is no reason.
func (r *Report) tooEarly(dmabuf int, ring rings, last int, table []uint32) string {
	switch {
	case dmabuf < 0:
		return "there is no dma-buf to try it with"
	case !r.FreeQueue.OK:
		return "no queue is free"
	case ring.Split != splitOn:
		return "TCP header split is off"
	case ring.Thresh != 0:
		return "hds-thresh is not 0"
	case !r.RSS.OK || slices.Contains(table, uint32(last)):
		return fmt.Sprintf("other packets come to queue %d", last)
	}
	return ""
}

// answered is the need that a call was for.
func answered(state string, err error) Need {
	if err == nil {
		return Need{OK: true, State: state}
	}
	n := Need{State: err.Error()}
	if e, ok := unsupported(err); ok {
		n = Need{State: e.state(), Remedy: e.Remedy}
	}
	return n
}
