package namespace

import (
	"fmt"

	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// Root is what a dataset's export leads to in one session.
type Root struct {
	ID   string // tells it from what was and will be there
	Gone string // why it leads to nothing
	// Undelegated is why none of its names can be delegated; "": they can.
	Undelegated string
}

// The longest of each, in bytes.
const (
	maxRootID      = 64
	maxGone        = 4096
	maxUndelegated = 4096
)

// DecodeRoots returns the roots of datasets by their names.
func DecodeRoots(list []*wire.Dataset) (map[string]Root, error) {
	roots := make(map[string]Root, len(list))
	for _, d := range list {
		if len(d.Root) > maxRootID || len(d.Gone) > maxGone || len(d.Undelegated) > maxUndelegated {
			return nil, fmt.Errorf("%w: a root told in %d bytes, gone in %d, undelegated in %d", transport.ErrProtocol, len(d.Root), len(d.Gone), len(d.Undelegated))
		}
		roots[string(d.Name)] = Root{ID: string(d.Root), Gone: d.Gone, Undelegated: d.Undelegated}
	}
	return roots, nil
}
