package verbs

// Handle names a window or a region inside a [Work], where no pointer may be.
type Handle uint64

// WorkOp says what a [Work] asks for.
type WorkOp uint8

// The operations of a send queue.
const (
	WorkSend            WorkOp = iota
	WorkWrite                  // RDMA WRITE
	WorkWriteImm               // RDMA WRITE with immediate data: consumes a receive of the peer
	WorkBindWindow             // bind a type 2 memory window
	WorkLocalInvalidate        // end a binding
)

// Work is one request for a send queue. Its layout is that of struct hb_work.
//
// To bind, Window and Region name the window and the region it opens, Local and
// Len the bytes, and RKey the key that peers shall use: [MW.NextKey]. The window
// then lets peers write and nothing else. To invalidate, RKey is the bound key.
type Work struct {
	ID     uint64 // returned in the [Completion]
	Local  uint64 // address, see [Addr]
	Remote uint64 // address at the peer, as the region's or window's RKey means it
	Window Handle
	Region Handle
	Len    uint32 // bytes; 0: no local memory is touched
	LKey   uint32
	RKey   uint32
	Imm    uint32 // host order
	Op     WorkOp

	// Signaled asks for a completion in case of success too.
	Signaled bool

	// Fence delays the request until earlier reads of the queue are done; a
	// bind or an invalidate delays what follows it by itself.
	Fence bool
}

// Recv is one buffer for a receive queue. Its layout is that of struct hb_recv.
type Recv struct {
	ID    uint64 // returned in the [Completion]
	Local uint64 // address, see [Addr]
	Len   uint32 // bytes; 0: takes immediate data only
	LKey  uint32
}

// Completion is the end of one request. Its layout is that of struct
// hb_completion. With a Status other than 0 only ID, Status and QPN mean
// anything.
type Completion struct {
	ID     uint64
	Status Status
	Op     Opcode
	Bytes  uint32 // received; of receives only
	Imm    uint32 // host order
	QPN    uint32 // [QP.Number] of the queue pair
	HasImm bool
}

// Opcode says what kind of request completed, as enum ibv_wc_opcode.
type Opcode uint32

// The completed operations.
const (
	OpSend            Opcode = 0
	OpWrite           Opcode = 1
	OpBindWindow      Opcode = 5
	OpLocalInvalidate Opcode = 6
	OpRecv            Opcode = 128
	OpRecvWithImm     Opcode = 129 // the receive that a WorkWriteImm of the peer consumed
)

// Status is a completion's result, as enum ibv_wc_status; 0 is success.
type Status uint32

// The results that callers tell apart.
const (
	StatusOK            Status = 0
	StatusFlushed       Status = 5 // the queue pair went to the error state first
	StatusRemoteAccess  Status = 10
	StatusRetryExceeded Status = 12 // the peer did not acknowledge
	StatusRNRExceeded   Status = 13 // the peer had no receive posted
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
