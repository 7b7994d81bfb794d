//go:build linux && cgo

package verbs

// #include "shim.h"
import "C"

import "unsafe"

// The build fails here unless the types that cross to C by their address have
// the layout of the C structs: an index other than 0 is out of bounds.
var (
	_ = [1]int{}[unsafe.Sizeof(Work{})-C.sizeof_struct_hb_work]
	_ = [1]int{}[unsafe.Offsetof(Work{}.Local)-unsafe.Offsetof(C.struct_hb_work{}.local)]
	_ = [1]int{}[unsafe.Offsetof(Work{}.Remote)-unsafe.Offsetof(C.struct_hb_work{}.remote)]
	_ = [1]int{}[unsafe.Offsetof(Work{}.Len)-unsafe.Offsetof(C.struct_hb_work{}.len)]
	_ = [1]int{}[unsafe.Offsetof(Work{}.LKey)-unsafe.Offsetof(C.struct_hb_work{}.lkey)]
	_ = [1]int{}[unsafe.Offsetof(Work{}.RKey)-unsafe.Offsetof(C.struct_hb_work{}.rkey)]
	_ = [1]int{}[unsafe.Offsetof(Work{}.Imm)-unsafe.Offsetof(C.struct_hb_work{}.imm)]
	_ = [1]int{}[unsafe.Offsetof(Work{}.Op)-unsafe.Offsetof(C.struct_hb_work{}.op)]
	_ = [1]int{}[unsafe.Offsetof(Work{}.Signaled)-unsafe.Offsetof(C.struct_hb_work{}.signaled)]

	_ = [1]int{}[unsafe.Sizeof(Recv{})-C.sizeof_struct_hb_recv]
	_ = [1]int{}[unsafe.Offsetof(Recv{}.Local)-unsafe.Offsetof(C.struct_hb_recv{}.local)]
	_ = [1]int{}[unsafe.Offsetof(Recv{}.Len)-unsafe.Offsetof(C.struct_hb_recv{}.len)]
	_ = [1]int{}[unsafe.Offsetof(Recv{}.LKey)-unsafe.Offsetof(C.struct_hb_recv{}.lkey)]

	_ = [1]int{}[unsafe.Sizeof(Completion{})-C.sizeof_struct_hb_completion]
	_ = [1]int{}[unsafe.Offsetof(Completion{}.Status)-unsafe.Offsetof(C.struct_hb_completion{}.status)]
	_ = [1]int{}[unsafe.Offsetof(Completion{}.Op)-unsafe.Offsetof(C.struct_hb_completion{}.op)]
	_ = [1]int{}[unsafe.Offsetof(Completion{}.Bytes)-unsafe.Offsetof(C.struct_hb_completion{}.bytes)]
	_ = [1]int{}[unsafe.Offsetof(Completion{}.Imm)-unsafe.Offsetof(C.struct_hb_completion{}.imm)]
	_ = [1]int{}[unsafe.Offsetof(Completion{}.HasImm)-unsafe.Offsetof(C.struct_hb_completion{}.has_imm)]

	_ = [1]int{}[WorkSend-C.HB_SEND]
	_ = [1]int{}[WorkWrite-C.HB_WRITE]
	_ = [1]int{}[WorkWriteImm-C.HB_WRITE_IMM]
	_ = [1]int{}[Init-C.HB_INIT]
	_ = [1]int{}[ReadyToReceive-C.HB_RTR]
	_ = [1]int{}[ReadyToSend-C.HB_RTS]
)
