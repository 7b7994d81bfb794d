// Package device allocates the regions of device memory that extents land in, and
// takes memory that applications made ([Importer]). It owns the descriptors and
// mappings of those and nothing else: it never decides what lies where in a region,
// never moves extents, and never hands a descriptor to anybody itself.
//
// Locking: providers and regions may be used from any goroutine. Close of a
// region must come after the last use of its bytes and its descriptor.
package device

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"hbmfs/transport"
)

// ErrUnknown: no provider has that name.
var ErrUnknown = errors.New("unknown device memory provider")

// ErrSize: a region can't have that size.
var ErrSize = errors.New("invalid region size")

// Provider allocates regions of one kind of device memory.
type Provider interface {
	// Name is what --device calls it.
	Name() string
	// CPU reports whether the CPU can address its memory.
	CPU() bool
	// Alloc makes a region of size bytes for one domain. The error wraps
	// [ErrSize] unless size is positive, or the kernel's errno. The caller
	// closes the region.
	Alloc(dom transport.Domain, size int64) (Region, error)
}

// Region is one piece of device memory. It owns its descriptor and its mapping.
type Region interface {
	transport.Memory
	// FD is the borrowed descriptor that may be handed to the domain's user,
	// to be mapped read-only. It is -1 after Close, and where there is none.
	FD() int
	// Prepare makes bytes [off, off+n) present before their first use. It is a
	// hint: what it can't do, the first access does.
	Prepare(off, n int64)
	// Revoke takes the region from its users: Revoked fires, and no transfer into it
	// succeeds any more. A second call does nothing.
	Revoke()
	// Close gives the memory back. A second call does nothing. What users have
	// mapped stays with them until they unmap it.
	Close() error
}

var providers = map[string]func() Provider{
	"memfd":   func() Provider { return memfd{} },
	"udmabuf": func() Provider { return udmabuf{} },
}

// Open returns the provider of that name. The error wraps [ErrUnknown] and lists
// those there are.
func Open(name string) (Provider, error) {
	open, ok := providers[name]
	if !ok {
		names := slices.Sorted(maps.Keys(providers))
		return nil, fmt.Errorf("%w %q: there are %s", ErrUnknown, name, strings.Join(names, ", "))
	}
	return open(), nil
}
