package uapi

import (
	"fmt"
	"structs"
	"unsafe"
)

// NrBatch is the number of BATCH within its type.
const NrBatch = 8

// BatchMax is how long a BATCH may be in all, in bytes.
const BatchMax = iocSizeMax

// BatchMore is a flag of an entry's answer: there was no room for all of its segments.
const BatchMore = 0x10

// Sizes of BATCH's structures, in bytes. MinBatchSize is as the others are.
const (
	BatchSize      = int(unsafe.Sizeof(Batch{}))
	BatchEntrySize = int(unsafe.Sizeof(BatchEntry{}))
	MinBatchSize   = 48
)

// Batch asks for many ranges: of a file, or of files beneath a directory. The entries,
// the room for segments and the bytes of the names follow it, in this order.
type Batch struct {
	_            structs.HostLayout
	Size         uint32
	Flags        uint32 // in: FetchRandom, FetchSequential or BatchInto; out: 0
	EntryCount   uint32 // at least 1
	SegmentRoom  uint32 // in segments, at least 1; 0 with BatchInto
	NameBytes    uint32 // 0 on a file
	Device       uint32 // or, with BatchInto, the buffer's number
	Release      uint64 // handle, or 0; 0 with BatchInto
	Handle       uint64 // out, as are all that follow; pins what all entries fetched
	SegmentCount uint32
	Failed       uint32 // how many entries have an error
}

// BatchEntry is one range of a [Batch], and what became of it.
type BatchEntry struct {
	_            structs.HostLayout
	Offset       uint64
	Length       uint64
	Fetched      uint64 // out, as are the next two; bytes that its segments cover
	Cursor       uint64 // where to go on, with BatchMore; of a BatchInto, in: where in the buffer the range goes
	FileSize     uint64
	Name         uint16 // in: where in the bytes of the names its own begins
	NameLength   uint16 // in: in bytes; 0 on a file
	Flags        uint16 // in: 0; out, as are all that follow: FetchUnsettled, BatchMore
	Error        uint16 // errno, 0 for success
	Segment      uint16 // its first
	SegmentCount uint16
	Path         uint16 // the least direct of its segments'
	Why          uint16
}

// IocBatch is the BATCH command of that many bytes in all, at most [BatchMax].
func IocBatch(bytes int) uint32 {
	return iocReadWrite | uint32(bytes)<<16 | Magic<<8 | NrBatch
}

// BatchLen is the length in bytes of a BATCH.
func BatchLen(entries, segments, nameBytes int) int {
	return BatchSize + entries*BatchEntrySize + segments*SegmentSize + nameBytes
}

// BatchRequest is the input of a BATCH: its structure, and what follows that, which
// is still the caller's buffer.
type BatchRequest struct {
	Batch
	entries, names []byte
}

// DecodeBatch returns the input of a BATCH. That an entry's range makes no sense is for
// who fetches it to say.
func DecodeBatch(cmd uint32, in []byte) (r BatchRequest, err error) {
	b, rest, err := decode[Batch](cmd, NrBatch, in, MinBatchSize)
	if err != nil {
		return BatchRequest{}, err
	}
	if err := checkBatch(&b, len(rest)); err != nil {
		return BatchRequest{}, err
	}
	entries := int(b.EntryCount) * BatchEntrySize
	r = BatchRequest{Batch: b, entries: rest[:entries], names: rest[len(rest)-int(b.NameBytes):]}
	for i := range int(b.EntryCount) {
		if err := r.checkEntry(i); err != nil {
			return BatchRequest{}, err
		}
	}
	return r, nil
}

// DecodeRanges is DecodeBatch on an open file, where no entry has a name.
func DecodeRanges(cmd uint32, in []byte) (r BatchRequest, err error) {
	if r, err = DecodeBatch(cmd, in); err == nil && r.NameBytes > 0 {
		return BatchRequest{}, fmt.Errorf("%w: %d bytes of names on an open file", ErrSize, r.NameBytes)
	}
	return r, err
}

func checkBatch(b *Batch, room int) error {
	if err := checkBatchFlags(b); err != nil {
		return err
	}
	// No sum of the three is too large for 64 bits.
	need := uint64(b.EntryCount)*uint64(BatchEntrySize) + uint64(b.SegmentRoom)*uint64(SegmentSize) + uint64(b.NameBytes)
	if b.EntryCount == 0 || (b.SegmentRoom == 0) != b.Into() || need != uint64(room) {
		return fmt.Errorf("%w: %d entries, %d segments and %d bytes of names in %d bytes",
			ErrSize, b.EntryCount, b.SegmentRoom, b.NameBytes, room)
	}
	return nil
}

func checkBatchFlags(b *Batch) error {
	if err := checkFlags(b.Flags &^ (FetchRandom | FetchSequential | BatchInto)); err != nil {
		return err
	}
	if b.Flags&(b.Flags-1) != 0 {
		return fmt.Errorf("%w: %#x at once", ErrFlags, b.Flags)
	}
	if b.Into() && b.Release != 0 {
		return fmt.Errorf("%w: release is %d, into a buffer", ErrZero, b.Release)
	}
	return nil
}

// Into reports whether its bytes go into a buffer: see [BatchInto].
func (b *Batch) Into() bool { return b.Flags&BatchInto != 0 }

func (r *BatchRequest) checkEntry(i int) error {
	e := r.Entry(i)
	if e.Flags != 0 {
		return fmt.Errorf("%w: %#x of entry %d", ErrFlags, e.Flags, i)
	}
	if int(e.Name)+int(e.NameLength) > len(r.names) {
		return fmt.Errorf("%w: entry %d has the %d bytes from %d of %d for its name", ErrSize, i, e.NameLength, e.Name, len(r.names))
	}
	return nil
}

// Entry returns entry i, less than EntryCount.
func (r *BatchRequest) Entry(i int) (e BatchEntry) {
	copy(bytesOf(&e), r.entries[i*BatchEntrySize:])
	return e
}

// NameOf returns the name that an entry has. Its bytes are the caller's.
func (r *BatchRequest) NameOf(e *BatchEntry) []byte {
	return r.names[e.Name:][:e.NameLength]
}

// Check returns an error wrapping [ErrRange] if the range is too long.
func (e *BatchEntry) Check() error { return checkRange(e.Offset, e.Length) }

// Encode writes the answer, with r's own structure at its head, into out, which is as
// long as the input was: entries and segments are at most what was asked for.
func (r *BatchRequest) Encode(out []byte, entries []BatchEntry, segments []Segment) {
	r.SegmentCount = uint32(len(segments))
	encode(out[:r.Size], &r.Batch)
	rest := out[r.Size:]
	for i := range entries {
		rest = rest[copy(rest, bytesOf(&entries[i])):]
	}
	for i := range segments {
		rest = rest[copy(rest, bytesOf(&segments[i])):]
	}
	room := len(rest) - len(r.names)
	clear(rest[:room])
	copy(rest[room:], r.names)
}

// EncodeBatch writes the input of a BATCH, whose counts are b's, into out. An entry's
// place among the names is set here.
func EncodeBatch(out []byte, b *Batch, entry func(i int) (e BatchEntry, name string)) {
	encode(out[:BatchSize], b)
	clear(out[BatchSize:])
	names := out[len(out)-int(b.NameBytes):]
	used := 0
	for i := range int(b.EntryCount) {
		e, name := entry(i)
		e.Name, e.NameLength = uint16(used), uint16(len(name))
		used += copy(names[used:], name)
		copy(out[BatchSize+i*BatchEntrySize:], bytesOf(&e))
	}
}

// BatchReply is what a BATCH of this ABI's size answered.
type BatchReply struct {
	Batch
	entries, segments []byte
}

// DecodeBatchReply returns what was answered into buf, which the command gave for so
// many entries and segments. The error wraps [ErrSize] if it has others.
func DecodeBatchReply(buf []byte, entries, segments int) (r BatchReply, err error) {
	if copy(bytesOf(&r.Batch), buf) < BatchSize || len(buf) < BatchLen(entries, segments, 0) {
		return BatchReply{}, fmt.Errorf("%w: %d bytes are no BATCH of %d entries", ErrSize, len(buf), entries)
	}
	if int(r.EntryCount) != entries || uint64(r.SegmentCount) > uint64(segments) {
		return BatchReply{}, fmt.Errorf("%w: %d entries and %d segments in the room for %d and %d",
			ErrSize, r.EntryCount, r.SegmentCount, entries, segments)
	}
	rest := buf[BatchSize:]
	r.entries = rest[:entries*BatchEntrySize]
	r.segments = rest[len(r.entries):][:int(r.SegmentCount)*SegmentSize]
	return r, nil
}

// Entry returns entry i and its segments, for [DecodeSegment]. The error wraps [ErrSize]
// if it has others than there are.
func (r *BatchReply) Entry(i int) (e BatchEntry, segments []byte, err error) {
	copy(bytesOf(&e), r.entries[i*BatchEntrySize:])
	if end := uint32(e.Segment) + uint32(e.SegmentCount); end > r.SegmentCount {
		return BatchEntry{}, nil, fmt.Errorf("%w: entry %d has segments up to %d of %d", ErrSize, i, end, r.SegmentCount)
	}
	return e, r.segments[int(e.Segment)*SegmentSize:][:int(e.SegmentCount)*SegmentSize], nil
}
