// Package wire holds the control messages between a mount and a target: the
// gRPC service in control.proto and what both ends must agree on beside it.
//
// It never opens a connection, and holds no state.
package wire

//go:generate protoc --proto_path=. --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative control.proto

// Protocol is the version of the control plane. Mount and target must agree.
const Protocol = 1
