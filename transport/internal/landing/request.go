package landing

import "hbmfs/transport"

// Request is a request as a link carries it out: into device memory, or, for a
// plain read and a call, into host memory.
type Request struct {
	*transport.Request
	// Host is where a plain read's payload goes, as long as Dst, which then names
	// no memory. It is nil for all other requests.
	Host []byte
	// Chained says that the request begins when the one before it on its connection
	// has been answered. The caller's own, of the same name, is a wish.
	Chained bool
}

// Plain reports whether it is a plain read's.
func (r Request) Plain() bool { return r.Host != nil }

// hosted reports whether the payload goes to the host's memory.
func (r Request) hosted() bool { return r.Plain() || r.Call != nil }

// Revoked reports whether the owner has taken the destination's memory back.
func (r Request) Revoked() bool { return !r.hosted() && Revoked(r.Dst.Mem) }

// Mapped is where the CPU finds the destination; nil where it can't.
func (r Request) Mapped() []byte {
	if r.Plain() {
		return r.Host
	}
	b := r.Dst.Mem.Bytes()
	if b == nil {
		return nil
	}
	return b[r.Dst.Off : r.Dst.Off+r.Dst.Len : r.Dst.Off+r.Dst.Len]
}

// Visible is [transport.Memory.Visible] of the destination's memory.
func (r Request) Visible(done func(error)) {
	if r.hosted() {
		done(nil)
		return
	}
	r.Dst.Mem.Visible(done)
}
