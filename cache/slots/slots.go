// Package slots says what lies where in a memory that things of many sizes share, and
// which of them go where others need their place. It owns the frames of the memory, the
// slots that they are cut into, and what of those is held, pinned or planned for. It
// never touches a byte of the memory, and never knows what lies in it.
//
// # Frames
//
// A memory is made of frames of one extent, or a few times that in a large one. A frame
// is cut into slots of one class, a size that leaves next to nothing of a frame over.
// What is to be brought has a slot of the smallest class that holds it, or a larger one,
// while that class has no frame and would not fill one. Where a class has no slot left,
// one of its own things goes, as package policy has it; all that is in a frame goes where
// that is needed by a class that has nothing to give, or was not used for long. Only what
// is not held goes.
//
// # Pins
//
// Some of what is held is pinned: it stays for long. Its slots are at most half of the
// memory, and lie in three quarters of its frames: what is to be pinned lies beside
// other pins where those leave a slot of its class, and is brought anew for that. Where
// too few frames would be left, it gets a larger slot. A [PinPlan] says where; that it
// stays within the half is for its user to see to.
//
// # Plans
//
// Who needs slots asks first whether there are enough ([Memory.Survey]), then holds what
// is there and takes the new ones ([Memory.Take]), and ends with [Memory.Planned]. So
// either all is had or nothing has changed. There is one plan at a time.
//
// # Locking
//
// None: a [Memory] and its slots are guarded by their user.
package slots

import (
	"hbmfs/cache/internal/list"
	"hbmfs/cache/policy"
)

// Memory is the frames of one memory.
type Memory struct {
	all      []frame
	fresh    int      // frames from here on were never used
	returned []*frame // frames before fresh that are free
	classes  []Class
	asked    []*Class // whose need is not 0
	bytes    int64    // of the memory
	size     int64    // of a frame, in bytes
	placed   int64    // bytes of slots that were ever used
	policy   policy.Policy
	evict    func(*Slot)

	idle list.List[frame] // in use, and nothing holds them; the longest so first

	pinned struct { // what is
		bytes  int64 // of slots
		frames int   // that have some of them
	}
}

// Init makes a memory of so many bytes for what is of an extent at most. What has to go
// is told to evict, which must free the slot.
func (m *Memory) Init(bytes, extent int64, evict func(*Slot)) {
	size := frameSize(bytes, extent)
	n := bytes / size
	m.bytes, m.size, m.evict = bytes, size, evict
	m.all = make([]frame, n)
	m.returned = make([]*frame, 0, n)
	m.classes = classes(size, extent)
	for i := range m.all {
		f := &m.all[i]
		f.off = int64(i) * size
		f.idle.Value, f.room.Value, f.beside.Value = f, f, f
	}
	for i := range m.classes {
		m.classes[i].queue.Init(&m.policy)
	}
}

// Frames is how many there are.
func (m *Memory) Frames() int { return len(m.all) }

// FrameSize is that of a frame, in bytes.
func (m *Memory) FrameSize() int64 { return m.size }

// Available counts the frames that are free or can be emptied.
func (m *Memory) Available() int { return m.unused() + m.idle.Len() }

// unused counts the free frames.
func (m *Memory) unused() int { return len(m.returned) + len(m.all) - m.fresh }
