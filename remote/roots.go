package remote

import "hbmfs/remote/namespace"

// logRoots says in the log what datasets have come to lead to since the last
// session.
func (c *connector) logRoots(roots map[string]namespace.Root) {
	for name, r := range roots {
		was, known := c.roots[name]
		log := c.cfg.Log.With("target", c.cfg.Addr, "dataset", name)
		switch {
		case r.Gone != "" && r.Gone != was.Gone:
			log.Error("dataset gone: its names and open files are stale until it is back", "why", r.Gone)
		case !known || r.ID == was.ID && r.Gone == was.Gone:
		case was.Gone != "":
			log.Info("dataset back")
		default:
			log.Warn("dataset replaced: the mount shows the new one, and files of the old one are stale")
		}
	}
	c.roots = roots
}
