//go:build 386 || arm || mips || mipsle

package cache

// Its FUSE library compiles for 64 bits only; see package fs/client for 32.
var _ int = "hbmfs mounts and serves on 64-bit platforms only; its client (fs/client) builds for 32 bits too"
