package rdma

import (
	"log/slog"

	"hbmfs/transport"
	"hbmfs/transport/limits"
	"hbmfs/transport/rdma/internal/target"
)

// NewPlane is a [transport.NewPlane]: the target's half.
func NewPlane(sessions transport.Sessions, bounds limits.Data, log *slog.Logger) transport.Plane {
	return target.New(sessions, bounds, log)
}
