package device

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"hbmfs/transport"
)

// ErrRoom: there is less memory than a region would need. Errors that wrap it
// wrap ENOMEM as well.
var ErrRoom = errors.New("more memory than there is")

// Room is what a provider can still give.
type Room struct {
	Bytes int64  // for the next region
	Bound string // what bounds it, and how to move that
}

// Roomy is a [Provider] that knows how much it can give. What it gives may cost
// memory only when it is used, so that Alloc itself refuses nothing.
type Roomy interface {
	// Room reckons with what the regions of this process still lack.
	Room() (Room, error)
}

// CheckRoom returns an error wrapping [ErrRoom] if the providers can't give a region
// of size bytes each. Those that know give the same, which is host memory.
func CheckRoom(size int64, providers ...Provider) error {
	var known int64
	for _, p := range providers {
		r, ok := p.(Roomy)
		if !ok {
			continue
		}
		if err := check(r.Room, size); err != nil {
			return err
		}
		known++
	}
	if known < 2 {
		return nil
	}
	if err := check(hostRoom, known*size); err != nil {
		return fmt.Errorf("for each of %d devices, %d MiB together: %w", known, known*size>>20, err)
	}
	return nil
}

func check(find func() (Room, error), size int64) error {
	room, err := find()
	if err != nil || size <= room.Bytes {
		return err
	}
	return roomError{fmt.Sprintf("%v: %d MiB can be had, bounded by %s", ErrRoom, room.Bytes>>20, room.Bound)}
}

type roomError struct{ text string }

func (e roomError) Error() string { return e.text }
func (roomError) Unwrap() []error { return []error{ErrRoom, unix.ENOMEM} }

// Bounded returns a provider whose Alloc refuses, by an error wrapping
// [ErrRoom], what p has no room for.
func Bounded(p Provider) Provider { return bounded{p} }

type bounded struct{ Provider }

// bounding is held over a check and the region that it is for: all providers of
// host memory give the same.
var bounding sync.Mutex

func (b bounded) Alloc(dom transport.Domain, size int64) (Region, error) {
	bounding.Lock()
	defer bounding.Unlock()
	if err := CheckRoom(size, b.Provider); err != nil {
		return nil, fmt.Errorf("%s: %w", b.Name(), err)
	}
	return b.Provider.Alloc(dom, size)
}
