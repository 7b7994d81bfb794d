package uapi

import (
	"bytes"
	"unicode/utf8"
	"unsafe"
)

// layout is the structures that cross the boundary: fixed-width members, no
// pointers, no holes.
type layout interface {
	Info | Fetch | Segment | Release | Digest | Pin | Unpin | Evict | Batch | BatchEntry | CtlRequest | CtlReply |
		CtlRingRequest | RingFile | Ring | RingOp | RingDone |
		FetchInto | CtlBufferRequest
}

// bytesOf is the memory of v. Copying through it needs no alignment of the
// other side.
func bytesOf[T layout](v *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}

// PutCString copies s into the fixed-size string dst, cut to what fits before
// the NUL that always ends it, and fills the rest with zeros.
func PutCString(dst []byte, s string) {
	n := min(len(s), len(dst)-1)
	for n > 0 && n < len(s) && !utf8.RuneStart(s[n]) {
		n--
	}
	copy(dst, s[:n])
	clear(dst[n:])
}

// CString is what a fixed-size string holds: the bytes before its first NUL.
func CString(src []byte) string {
	s, _, _ := bytes.Cut(src, []byte{0})
	return string(s)
}
