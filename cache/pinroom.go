package cache

import (
	"cmp"
	"fmt"
	"math"

	"hbmfs/transport/limits"
)

// maxPins is how many extents a pool may have pinned.
var maxPins = 1 << 16

func newPinFiles(all int64) *limits.Limit {
	return limits.New(limits.Config{What: "files with pins", All: cmp.Or(all, math.MaxInt64), Remedy: "unpin some"})
}

// Pins may lie in pinFramesNum of pinFramesDen of a pool's frames, so that some are left
// that can become of any class.
const pinFramesNum, pinFramesDen = 3, 4

// PinBudget is how many bytes of memory the pins of one user may hold on a device.
func (d Device) PinBudget() int64 { return d.Pool / pinShare }

func (p *pool) pinBudget() int64 { return p.region.Size() / pinShare }

// pinFrames is how many frames may have pins.
func (p *pool) pinFrames() int { return max(1, len(p.frames.all)*pinFramesNum/pinFramesDen) }

// admitPin returns an error wrapping [ErrNoSpace] if e may not be pinned. With mu.
func (p *pool) admitPin(e *extent) error {
	if err := p.admitPins(p.pins.all.n+1, p.pins.held+e.frame.class.size); err != nil {
		return err
	}
	if e.frame.pins == 0 && p.pins.frames >= p.pinFrames() {
		return p.errPinFrames()
	}
	return nil
}

func (p *pool) errPinFrames() error {
	return fmt.Errorf("%w: pins of uid %d lie in %d of %d frames; unpin some, or enlarge the pool",
		ErrNoSpace, p.dom.UID, p.pins.frames, len(p.frames.all))
}

// admitPins is admitPin for so many pins in all, that hold so much. With mu.
func (p *pool) admitPins(n int, held int64) error {
	if budget := p.pinBudget(); held > budget {
		return fmt.Errorf("%w: pins of uid %d hold %d bytes of the %d that they may; unpin some, or enlarge the pool",
			ErrNoSpace, p.dom.UID, p.pins.held, budget)
	}
	if n > maxPins {
		return fmt.Errorf("%w: uid %d has %d extents pinned, of the %d that he may; unpin some, or pin larger ranges",
			ErrNoSpace, p.dom.UID, p.pins.all.n, maxPins)
	}
	return nil
}
