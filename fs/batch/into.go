package batch

import (
	"hbmfs/cache"
	"hbmfs/fs/uapi"
)

// placed is a range that was brought into a buffer: nothing of it is pinned.
type placed struct {
	bytes int64
	path  uapi.Path
	why   uapi.Reason
}

// Placed is what a [Getter] returns of so many bytes that are in a buffer.
func Placed(bytes int64, path uapi.Path, why uapi.Reason) Pinned { return placed{bytes, path, why} }

func (p placed) Segments() []cache.Segment { return nil }
func (p placed) Covered() int64            { return p.bytes }
func (p placed) Next() int64               { return 0 }
func (p placed) Path() uapi.Path           { return p.path }
func (p placed) Why() uapi.Reason          { return p.why }
func (p placed) Release()                  {}
