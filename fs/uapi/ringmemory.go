package uapi

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

// RingMemory is a ring's memory as one side sees it. The other may write any of it at
// any time: each member is read once, and what is read may mean anything.
type RingMemory struct {
	*Ring       // its counters and flags
	mem         []byte
	submissions int // offsets
	completions int
	names       []byte
	entries     uint32
}

// RingLen is the length of a ring's memory, in bytes, for arguments that are in range.
func RingLen(entries, nameBytes uint32) int { return namesOffset(entries) + int(nameBytes) }

func completionsOffset(entries uint32) int { return RingHeadSize + int(entries)*RingOpSize }

func namesOffset(entries uint32) int { return completionsOffset(entries) + 2*int(entries)*RingDoneSize }

// InitRing makes mem, which is zero and of [RingLen], the memory of a ring. It must be
// aligned to 8 bytes.
func InitRing(mem []byte, number, entries, nameBytes uint32) RingMemory {
	m := ringMemory(mem, entries, nameBytes)
	r := m.Ring
	r.Size, r.Entries, r.CompletionEntries = uint32(RingHeadSize), entries, 2*entries
	r.SubmissionsOffset, r.CompletionsOffset, r.NamesOffset = uint32(m.submissions), uint32(m.completions), uint32(namesOffset(entries))
	r.NameBytes, r.Ring = nameBytes, number
	return m
}

func ringMemory(mem []byte, entries, nameBytes uint32) RingMemory {
	names := namesOffset(entries)
	return RingMemory{
		Ring: (*Ring)(unsafe.Pointer(unsafe.SliceData(mem))), mem: mem, entries: entries,
		submissions: RingHeadSize, completions: completionsOffset(entries), names: mem[names : names+int(nameBytes)],
	}
}

// OpenRing returns the ring that a mount has made in mem, which is mapped. The error
// wraps [ErrSize] if that is none of this ABI's.
func OpenRing(mem []byte) (RingMemory, error) {
	if len(mem) < RingHeadSize {
		return RingMemory{}, fmt.Errorf("%w: a ring of %d bytes", ErrSize, len(mem))
	}
	r := (*Ring)(unsafe.Pointer(unsafe.SliceData(mem)))
	if checkRing(r.Entries, r.NameBytes) != nil || r.Size < uint32(RingHeadSize) || r.CompletionEntries != 2*r.Entries ||
		RingLen(r.Entries, r.NameBytes) > len(mem) || r.SubmissionsOffset != uint32(RingHeadSize) ||
		r.CompletionsOffset != uint32(completionsOffset(r.Entries)) || r.NamesOffset != uint32(namesOffset(r.Entries)) {
		return RingMemory{}, fmt.Errorf("%w: a ring of another layout", ErrSize)
	}
	return ringMemory(mem, r.Entries, r.NameBytes), nil
}

// Names is where the program puts names. Whoever did not write them copies them once.
func (m *RingMemory) Names() []byte { return m.names }

// Submissions is how many there is room for, a power of two.
func (m *RingMemory) Submissions() uint32 { return m.entries }

// Completions is how many there is room for, a power of two.
func (m *RingMemory) Completions() uint32 { return 2 * m.entries }

// Submission reads the one at a counter.
func (m *RingMemory) Submission(at uint32) (o RingOp) {
	load((*words)(unsafe.Pointer(&o)), m.submission(at))
	return o
}

// Submit writes the one at a counter.
func (m *RingMemory) Submit(at uint32, o *RingOp) {
	store(m.submission(at), (*words)(unsafe.Pointer(o)))
}

// Completion reads the one at a counter.
func (m *RingMemory) Completion(at uint32) (d RingDone) {
	load((*words)(unsafe.Pointer(&d)), m.completion(at))
	return d
}

// Complete writes the one at a counter.
func (m *RingMemory) Complete(at uint32, d *RingDone) {
	store(m.completion(at), (*words)(unsafe.Pointer(d)))
}

func (m *RingMemory) submission(at uint32) *words {
	i := int(at & (m.entries - 1))
	return (*words)(unsafe.Pointer(&m.mem[m.submissions+i*RingOpSize]))
}

func (m *RingMemory) completion(at uint32) *words {
	i := int(at & (2*m.entries - 1))
	return (*words)(unsafe.Pointer(&m.mem[m.completions+i*RingDoneSize]))
}

// words are a submission or a completion.
type words [RingOpSize / 8]uint64

// load reads each word once, whatever the compiler would like: what is checked is what
// is used.
func load(to, from *words) {
	for i := range to {
		to[i] = atomic.LoadUint64(&from[i])
	}
}

// store is load's other side.
func store(to, from *words) {
	for i := range to {
		atomic.StoreUint64(&to[i], from[i])
	}
}
