package verbs

// WorkOp says what a [Work] asks for.
type WorkOp uint8

// The operations of a send queue.
const (
	WorkSend     WorkOp = iota
	WorkWrite           // RDMA WRITE
	WorkWriteImm        // RDMA WRITE with immediate data: consumes a receive of the peer
)

// Work is one request for a send queue. Its layout is that of struct hb_work.
type Work struct {
	ID     uint64 // returned in the [Completion]
	Local  uint64 // address, see [Addr]
	Remote uint64 // address at the peer, as the region's RKey means it
	Len    uint32 // bytes; 0: no local memory is touched
	LKey   uint32
	RKey   uint32
	Imm    uint32 // host order
	Op     WorkOp

	// Signaled asks for a completion in case of success too.
	Signaled bool
}

// Recv is one buffer for a receive queue. Its layout is that of struct hb_recv.
type Recv struct {
	ID    uint64 // returned in the [Completion]
	Local uint64 // address, see [Addr]
	Len   uint32 // bytes; 0: takes immediate data only
	LKey  uint32
}

// Completion is the end of one request. Its layout is that of struct
// hb_completion. With a Status other than 0 only ID and Status mean anything.
type Completion struct {
	ID     uint64
	Status Status
	Op     Opcode
	Bytes  uint32 // received; of receives only
	Imm    uint32 // host order
	HasImm bool
}

// Opcode says what kind of request completed, as enum ibv_wc_opcode.
type Opcode uint32

// The completed operations.
const (
	OpSend        Opcode = 0
	OpWrite       Opcode = 1
	OpRecv        Opcode = 128
	OpRecvWithImm Opcode = 129 // the receive that a WorkWriteImm of the peer consumed
)

// Status is a completion's result, as enum ibv_wc_status; 0 is success.
type Status uint32

// The results that callers tell apart.
const (
	StatusOK            Status = 0
	StatusFlushed       Status = 5  // the queue pair went to the error state first
	StatusRetryExceeded Status = 12 // the peer did not acknowledge
)

var statusText = [...]string{
	"success",
	"local length error",
	"local QP operation error",
	"local EE context operation error",
	"local protection error",
	"work request flushed",
	"memory window bind error",
	"bad response",
	"local access error",
	"remote invalid request",
	"remote access error",
	"remote operation error",
	"transport retry counter exceeded",
	"receiver not ready, retry counter exceeded",
	"local RDD violation",
	"remote invalid RD request",
	"remote aborted",
	"invalid EE context number",
	"invalid EE context state",
	"fatal error",
	"response timeout",
	"general error",
}

// String names the status.
func (s Status) String() string {
	if int(s) < len(statusText) {
		return statusText[s]
	}
	return "unknown status"
}
