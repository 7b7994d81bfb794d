package remote

import (
	"fmt"

	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// root is what a dataset's export leads to in one session.
type root struct {
	id   string // tells it from what was and will be there
	gone string // why it leads to nothing
}

// The longest of either, in bytes.
const (
	maxRootID = 64
	maxGone   = 4096
)

func newRoots(list []*wire.Dataset) (map[string]root, error) {
	roots := make(map[string]root, len(list))
	for _, d := range list {
		if len(d.Root) > maxRootID || len(d.Gone) > maxGone {
			return nil, fmt.Errorf("%w: a root told in %d bytes, gone in %d", transport.ErrProtocol, len(d.Root), len(d.Gone))
		}
		roots[string(d.Name)] = root{id: string(d.Root), gone: d.Gone}
	}
	return roots, nil
}

// logRoots says in the log what datasets have come to lead to since the last
// session.
func (c *connector) logRoots(roots map[string]root) {
	for name, r := range roots {
		was, known := c.roots[name]
		log := c.cfg.Log.With("target", c.cfg.Addr, "dataset", name)
		switch {
		case r.gone != "" && r.gone != was.gone:
			log.Error("dataset gone: its names and open files are stale until it is back", "why", r.gone)
		case !known || r == was:
		case was.gone != "":
			log.Info("dataset back")
		default:
			log.Warn("dataset replaced: the mount shows the new one, and files of the old one are stale")
		}
	}
	c.roots = roots
}
