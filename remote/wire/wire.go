// Package wire holds the control messages between a mount and a target: the
// gRPC service in control.proto and what both ends must agree on beside it.
//
// It never opens a connection, and holds no state.
package wire

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

//go:generate protoc --proto_path=. --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative control.proto

// Protocol is the version of the control plane. Mount and target must agree.
const Protocol = 3

// Err returns why there is no answer, as a gRPC call would, or nil.
func (x *Answer) Err() error {
	if len(x.GetStatus()) == 0 {
		return nil
	}
	st := status.New(codes.OK, "").Proto()
	if err := proto.Unmarshal(x.Status, st); err != nil || st.Code == int32(codes.OK) {
		return status.Error(codes.Internal, "the target answered with a status that says nothing")
	}
	return status.FromProto(st).Err()
}
