package transporttest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"sync"

	"hbmfs/transport"
)

// Source is a fake target's storage: files of tagged words, each of which tells
// its file, version and offset, so that a wrong byte shows where it is from.
type Source struct {
	mu    sync.Mutex // guards files, what they point to, and calls
	files map[uint64]*file
	calls struct {
		hold *Hold
		err  error
	}
}

type file struct {
	ref  transport.FileRef
	size int64
	err  error // what every read fails with
	cold bool  // not in memory
	hold *Hold
}

var _ transport.Source = (*Source)(nil)

// NewSource returns a source without files.
func NewSource() *Source { return &Source{files: make(map[uint64]*file)} }

// Add adds a file of size bytes, in memory, at version 1. handle is below 2^16.
func (s *Source) Add(handle uint64, size int64) transport.FileRef {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &file{ref: ref(handle, 1), size: size}
	s.files[handle] = f
	return f.ref
}

// Change makes the file's next version; reads of earlier ones are stale.
func (s *Source) Change(handle uint64) transport.FileRef {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.files[handle]
	f.ref = ref(handle, number(f.ref)+1)
	return f.ref
}

// Fail makes every read of the file fail with err; nil heals it.
func (s *Source) Fail(handle uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[handle].err = err
}

// Chill takes the file out of memory: TryRead is answered
// [transport.ErrWouldBlock].
func (s *Source) Chill(handle uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[handle].cold = true
}

// Hold makes reads of the file wait until the hold is released.
func (s *Source) Hold(handle uint64) *Hold {
	h := newHold()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[handle].hold = h
	return h
}

// HoldCalls makes calls wait until the hold is released.
func (s *Source) HoldCalls() *Hold {
	h := newHold()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls.hold = h
	return h
}

// FailCalls makes every call fail with err, and do nothing; nil heals them.
func (s *Source) FailCalls(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls.err = err
}

// Hold keeps reads or calls waiting, as stalled storage does.
type Hold struct {
	reached chan struct{}
	gate    chan struct{}
	once    sync.Once
}

func newHold() *Hold { return &Hold{reached: make(chan struct{}, 1), gate: make(chan struct{})} }

// Reached gets a value once a read or call waits.
func (h *Hold) Reached() <-chan struct{} { return h.reached }

// Release lets all that wait go on. It may be called more than once.
func (h *Hold) Release() { h.once.Do(func() { close(h.gate) }) }

func (h *Hold) wait(ctx context.Context) error {
	select {
	case h.reached <- struct{}{}:
	default:
	}
	select {
	case <-h.gate:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TryRead answers as the interface says. What dst holds after a failure is of no
// version.
func (s *Source) TryRead(want transport.FileRef, off int64, dst []byte) error {
	f, err := s.file(want.Handle)
	if err != nil {
		return err
	}
	if f.cold || f.hold != nil {
		Scribble(dst)
		return transport.ErrWouldBlock
	}
	return f.read(want, off, dst)
}

// Read is TryRead that waits.
func (s *Source) Read(ctx context.Context, want transport.FileRef, off int64, dst []byte) error {
	f, err := s.file(want.Handle)
	if err != nil {
		return err
	}
	if f.hold != nil {
		if err := f.hold.wait(ctx); err != nil {
			Scribble(dst)
			return err
		}
	}
	return f.read(want, off, dst)
}

// Call answers an ask with itself, and does what it says if it is [Opens]'s.
func (s *Source) Call(ctx context.Context, ask, dst []byte) (int, error) {
	s.mu.Lock()
	calls := s.calls
	s.mu.Unlock()
	if calls.hold != nil {
		if err := calls.hold.wait(ctx); err != nil {
			return 0, err
		}
	}
	if calls.err != nil {
		return 0, calls.err
	}
	if handle, ok := opened(ask); ok {
		s.Add(handle, int64(binary.LittleEndian.Uint64(ask[9:])))
	}
	return copy(dst, ask), nil
}

const (
	opens     = 'o'
	opensSize = 17
)

// Opens is the ask that adds a file, as [Source.Add] does.
func Opens(handle uint64, size int64) (ask []byte, file transport.FileRef) {
	ask = binary.LittleEndian.AppendUint64([]byte{opens}, handle)
	return binary.LittleEndian.AppendUint64(ask, uint64(size)), ref(handle, 1)
}

// opened is the handle that an ask of [Opens] adds.
func opened(ask []byte) (handle uint64, ok bool) {
	if len(ask) != opensSize || ask[0] != opens {
		return 0, false
	}
	return binary.LittleEndian.Uint64(ask[1:]), true
}

func (f file) read(want transport.FileRef, off int64, dst []byte) error {
	switch {
	case f.err != nil:
		Scribble(dst)
		return f.err
	case want.Version != f.ref.Version:
		Scribble(dst)
		return fmt.Errorf("fake source: %w", transport.ErrStale)
	case off < 0 || int64(len(dst)) > f.size-off:
		Scribble(dst)
		return fmt.Errorf("fake source: %w", transport.ErrRange)
	}
	Fill(dst, f.ref, off)
	return nil
}

func (s *Source) file(handle uint64) (file, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.files[handle]
	if !ok {
		return file{}, fmt.Errorf("fake source: %w: %d", transport.ErrUnknownFile, handle)
	}
	return *f, nil
}

func ref(handle, version uint64) transport.FileRef {
	r := transport.FileRef{Handle: handle}
	binary.LittleEndian.PutUint64(r.Version[:], handle)
	binary.LittleEndian.PutUint64(r.Version[8:], version)
	return r
}

func number(r transport.FileRef) uint64 { return binary.LittleEndian.Uint64(r.Version[8:]) }

// Word is the 8 bytes at offset off, a multiple of 8 below 2^35, of a file: from
// the top 16 bits of handle, 16 of version, 32 of off / 8.
func Word(r transport.FileRef, off int64) uint64 {
	return r.Handle<<48 | number(r)&0xffff<<32 | uint64(off/8)&0xffffffff
}

// Fill writes what a file holds from off on, any offset, into dst.
func Fill(dst []byte, r transport.FileRef, off int64) {
	for len(dst) > 0 {
		if off&7 == 0 && len(dst) >= 8 {
			binary.LittleEndian.PutUint64(dst, Word(r, off))
			dst, off = dst[8:], off+8
			continue
		}
		var w [8]byte
		binary.LittleEndian.PutUint64(w[:], Word(r, off&^7))
		n := copy(dst, w[off&7:])
		dst, off = dst[n:], off+int64(n)
	}
}

// Check returns an error that names the first of got's bytes which is not what
// the file holds from off on, and where that byte seems to be from.
func Check(got []byte, r transport.FileRef, off int64) error {
	want := make([]byte, len(got))
	Fill(want, r, off)
	if bytes.Equal(got, want) {
		return nil
	}
	for i := range got {
		if got[i] != want[i] {
			return fmt.Errorf("byte %d of %d, offset %d of file %d version %d: %#02x, not %#02x (%s)",
				i, len(got), off+int64(i), r.Handle, number(r), got[i], want[i], origin(got, i, off))
		}
	}
	return nil
}

// origin reads the word around got[i] as a tag.
func origin(got []byte, i int, off int64) string {
	at := i - int((off+int64(i))&7)
	if at < 0 || at+8 > len(got) {
		return "in a part of a word"
	}
	w := binary.LittleEndian.Uint64(got[at:])
	return fmt.Sprintf("word %#016x: file %d version %d offset %d", w, w>>48, w>>32&0xffff, w&0xffffffff*8)
}

// scribble is what a failed read leaves behind; no file has it.
const scribble = 0xa5

// Scribble fills b with bytes that are of no file.
func Scribble(b []byte) {
	if len(b) == 0 {
		return
	}
	b[0] = scribble
	for n := 1; n < len(b); n *= 2 {
		copy(b[n:], b[:n])
	}
}

// Scribbled reports whether all of b is still as Scribble left it.
func Scribbled(b []byte) bool {
	return bytes.Count(b, []byte{scribble}) == len(b)
}
