// Package probe is the form in which rooms answer what a host can do: each probes
// itself, by doing what it asks about, and says what was found and what to do.
// 'hbmfs doctor' prints that.
//
// Locking: none. A [Finding] is a value.
package probe

import (
	"errors"
	"os"
	"strings"
)

// Finding is the outcome of one probe.
type Finding struct {
	Kind   string `json:"kind"` // device, transport, mount, target, host, rdma or nic
	Name   string `json:"name"`
	Usable bool   `json:"usable"`
	// Detail is what was found; Remedy what to do where it can't be used.
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"`
	// Needed says that no mount works without it.
	Needed bool `json:"needed"`
	// Untried says that nobody knows whether it is usable; Detail says why.
	Untried bool `json:"untried,omitempty"`
}

// ErrUntried is what a probe returns that could not find out.
var ErrUntried = errors.New("not tried")

// Of is what try found, or else why it can't be used, with the remedy.
func Of(kind, name, remedy string, try func() (found string, err error)) Finding {
	found, err := try()
	if err != nil {
		return Finding{Kind: kind, Name: name, Detail: err.Error(), Remedy: remedy, Untried: errors.Is(err, ErrUntried)}
	}
	return Finding{Kind: kind, Name: name, Usable: true, Detail: found}
}

// Need is f of what no mount works without, if that is so.
func (f Finding) Need(needed bool) Finding {
	f.Needed = needed
	return f
}

// Kernel is the kernel's version. Nothing depends on that alone.
func Kernel() Finding {
	return Of("host", "kernel", "mount /proc", func() (string, error) {
		release, err := os.ReadFile("/proc/sys/kernel/osrelease")
		return strings.TrimSpace(string(release)), err
	})
}
