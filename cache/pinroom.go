package cache

import (
	"cmp"
	"fmt"
	"math"

	"hbmfs/cache/slots"
	"hbmfs/transport/limits"
)

// maxPins is how many extents a pool may have pinned.
var maxPins = 1 << 16

func newPinFiles(all int64) *limits.Limit {
	return limits.New(limits.Config{What: "files with pins", All: cmp.Or(all, math.MaxInt64), Remedy: "unpin some"})
}

// PinBudget is how many bytes of memory the pins of one user may hold on a device.
func (d Device) PinBudget() int64 { return d.Pool / slots.PinShare }

// admitPin returns an error wrapping [ErrNoSpace] if e may not be pinned. With mu.
func (p *pool) admitPin(e *extent) error {
	if err := p.admitPins(p.pins.all.Len()+1, p.memory.PinnedBytes()+e.slot.Size()); err != nil {
		return err
	}
	if !p.memory.MayPin(&e.slot) {
		return p.errPinFrames()
	}
	return nil
}

func (p *pool) errPinFrames() error {
	return fmt.Errorf("%w: pins of uid %d lie in %d of %d frames; unpin some, or enlarge the pool",
		ErrNoSpace, p.dom.UID, p.memory.PinnedFrames(), p.memory.Frames())
}

// admitPins is admitPin for so many pins in all, that hold so much. With mu.
func (p *pool) admitPins(n int, held int64) error {
	if budget := p.memory.PinBudget(); held > budget {
		return fmt.Errorf("%w: pins of uid %d hold %d bytes of the %d that they may; unpin some, or enlarge the pool",
			ErrNoSpace, p.dom.UID, p.memory.PinnedBytes(), budget)
	}
	if n > maxPins {
		return fmt.Errorf("%w: uid %d has %d extents pinned, of the %d that he may; unpin some, or pin larger ranges",
			ErrNoSpace, p.dom.UID, p.pins.all.Len(), maxPins)
	}
	return nil
}
