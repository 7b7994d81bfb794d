package devmemtcp

import "hbmfs/transport/devmemtcp/internal/nic"

// Restore puts back what transports of processes that are gone left changed on
// NICs of this network namespace, and returns the names of those NICs, and which
// others are in use, by whom. stateDir is [Config.StateDir].
func Restore(stateDir string) (restored, busy []string, err error) { return nic.Restore(stateDir) }
