package transporttest

import "hbmfs/transport/limits"

// Bounds are what a target's clients may have of its data planes together, in
// connections and bytes.
func Bounds(connections, staging int64) limits.Data {
	return limits.Data{
		Connections: limits.New(limits.Config{What: "data connections", All: connections, Remedy: "close some"}),
		Staging:     limits.New(limits.Config{What: "bytes of staging memory", All: staging, Remedy: "take them in"}),
	}
}

// Ample bounds are met by no test that is not about them.
func Ample() limits.Data { return Bounds(1<<20, 1<<40) }
