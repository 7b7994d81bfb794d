// Package landing holds the last steps of a payload's way into memory, which all
// transports that pass through this host's memory share: where the bytes are
// put first, and how they get from there to where the device sees them.
//
// It owns the pooled host buffers, those of plain reads and who waits for them
// ([Read]), and the set of attached memories. It never touches a connection, and
// completes no request but a plain read.
//
// Locking: a [Pad] belongs to whoever runs the request and has no lock of its
// own. [Set] may be used concurrently.
package landing

import "hbmfs/transport"

// Pad takes one payload at a time: [Pad.Begin], fill what it returned, then
// [Pad.Commit]; or [Pad.Abort] if the payload did not come. It is reused, so
// that a request costs no allocation.
type Pad struct {
	req     Request
	staging *Buffer
	done    func(error)
	copied  func(error)
	visible func(error)
}

// Init readies the pad. done is called once for each Commit, when the device
// sees the payload or it is known that it won't; possibly on a goroutine of the
// memory.
func (p *Pad) Init(done func(error)) {
	p.done = done
	p.copied = p.onCopied
	p.visible = p.onVisible
}

// Begin returns where to put the payload of r: the destination itself where the
// CPU can touch it, otherwise a host buffer. r must have been checked.
func (p *Pad) Begin(r Request) []byte {
	p.req = r
	if b := r.Mapped(); b != nil {
		return b
	}
	p.staging = GetBuffer(int(r.Dst.Len))
	return p.staging.B[:r.Dst.Len]
}

// Staged reports whether the payload passes through a host buffer.
func (p *Pad) Staged() bool { return p.staging != nil }

// Revoked reports whether the owner has taken the destination's memory back.
func (p *Pad) Revoked() bool { return p.req.Revoked() }

// Commit takes the payload from where Begin said to where the device sees it,
// and then calls done. The error wraps [transport.ErrRevoked] if the memory was
// revoked before that.
func (p *Pad) Commit() {
	switch {
	case p.Revoked():
		p.finish(transport.ErrRevoked)
	case p.staging != nil:
		dst := p.req.Dst
		dst.Mem.CopyIn(dst.Off, p.staging.B[:dst.Len], p.copied)
	default:
		p.req.Visible(p.visible)
	}
}

// Abort forgets the payload; done is not called.
func (p *Pad) Abort() {
	p.req = Request{}
	if p.staging != nil {
		p.staging.Release()
		p.staging = nil
	}
}

func (p *Pad) onCopied(err error) {
	if err != nil {
		p.finish(err)
		return
	}
	p.req.Visible(p.visible)
}

func (p *Pad) onVisible(err error) {
	if err == nil && p.Revoked() {
		err = transport.ErrRevoked
	}
	p.finish(err)
}

func (p *Pad) finish(err error) {
	p.Abort()
	p.done(err)
}

// Revoked reports whether mem's owner has taken it back.
func Revoked(mem transport.Memory) bool {
	ch := mem.Revoked()
	if ch == nil {
		return false
	}
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
