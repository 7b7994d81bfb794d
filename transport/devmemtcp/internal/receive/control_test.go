package receive

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"hbmfs/transport/transporttest"

	"golang.org/x/sys/unix"
)

const (
	testPool    = 64 << 10
	testBinding = 7
)

// message is one control message.
func message(level, kind int32, c control) []byte {
	b := make([]byte, controlSize)
	binary.NativeEndian.PutUint64(b, uint64(controlLen))
	binary.NativeEndian.PutUint32(b[8:], uint32(level))
	binary.NativeEndian.PutUint32(b[12:], uint32(kind))
	binary.NativeEndian.PutUint64(b[16:], c.off)
	binary.NativeEndian.PutUint32(b[24:], c.size)
	binary.NativeEndian.PutUint32(b[28:], c.token)
	binary.NativeEndian.PutUint32(b[32:], c.id)
	return b
}

func fragmentAt(off uint64, size, token uint32) []byte {
	return message(unix.SOL_SOCKET, unix.SCM_DEVMEM_DMABUF, control{off: off, size: size, token: token, id: testBinding})
}

// bound is a binding that there is not.
type bound struct{}

func (bound) ID() uint32   { return testBinding }
func (bound) Close() error { return nil }

// testPair is one that has nothing but a pool, and room for so many messages.
func testPair(room int) (*Pair, []Part) {
	p := New(Config{
		Queue: Queue{Memory: transporttest.NewMapped(testPool), Binding: bound{}}, Messages: room,
		Counters: new(Counters), Held: new(atomic.Int64),
	})
	return p, make([]Part, 0, room)
}

func TestControlMessages(t *testing.T) {
	fine := fragmentAt(4096, 100, 1)
	long, short := message(unix.SOL_SOCKET, unix.SCM_DEVMEM_DMABUF, control{}), fragmentAt(0, 100, 1)
	long[0]++
	for _, c := range []struct {
		what    string
		n       int
		control []byte
	}{
		{"no message for the rest", 200, fine},
		{"more than was received", 99, fine},
		{"a second one for nothing", 100, append(fragmentAt(0, 100, 1), fine...)},
		{"no bytes", 100, append(fragmentAt(0, 0, 2), fine...)},
		{"past the pool's end", 100, fragmentAt(testPool-99, 100, 1)},
		{"outside of the pool", 100, fragmentAt(1<<40, 100, 1)},
		{"an offset that wraps", 100, fragmentAt(1<<64-50, 100, 1)},
		{"another binding", 100, message(unix.SOL_SOCKET, unix.SCM_DEVMEM_DMABUF, control{size: 100, id: testBinding + 1})},
		{"another type", 100, message(unix.SOL_SOCKET, unix.SCM_TIMESTAMP, control{size: 100, id: testBinding})},
		{"another level", 100, message(unix.IPPROTO_TCP, unix.SCM_DEVMEM_DMABUF, control{size: 100, id: testBinding})},
		{"too long a message", 100, long},
		{"cut in its data", 100, short[:controlLen-1]},
		{"cut in its header", 100, short[:unix.SizeofCmsghdr-1]},
		{"cut after the first", 200, append(fragmentAt(0, 100, 1), short[:20]...)},
	} {
		p, parts := testPair(4)
		parts, err := p.place(c.n, c.control, parts)
		if !errors.Is(err, ErrControl) {
			t.Errorf("%s: %v", c.what, err)
		} else {
			t.Logf("%s: %v", c.what, err)
		}
		if p.Held.Load() != tokens(parts) {
			t.Errorf("%s: tokens of %+v are lost", c.what, parts)
		}
	}
}

// TestMixed has device memory, bytes that were not split, and device memory in
// one receive.
func TestMixed(t *testing.T) {
	p, parts := testPair(8)
	linear := message(unix.SOL_SOCKET, unix.SCM_DEVMEM_LINEAR, control{size: 7})
	var all []byte
	for _, m := range [][]byte{fragmentAt(0, 10, 1), fragmentAt(4096, 20, 2), linear, linear, fragmentAt(8192, 30, 3)} {
		all = append(all, m...)
	}
	parts, err := p.place(74, all, parts)
	if err != nil {
		t.Fatal(err)
	}
	want := []Part{
		{Off: 0, Len: 10, Token: 1},
		{Off: 4096, Len: 20, Token: 2},
		{Off: 0, Len: 7, Host: true},
		{Off: 7, Len: 7, Host: true},
		{Off: 8192, Len: 30, Token: 3},
	}
	if !slices.Equal(parts, want) {
		t.Errorf("%+v", parts)
	}
	if s := p.Counters.Stats(p.Held.Load()); s.Tokens != 3 || s.Fragments != 3 || s.LinearBytes != 14 || s.DeviceBytes != 60 {
		t.Errorf("%+v", s)
	}
}

// FuzzControls: whatever the messages say, what came lies in the pool or in the
// host's buffer, and is as much as was received.
func FuzzControls(f *testing.F) {
	f.Add(100, fragmentAt(0, 100, 1))
	f.Add(200, append(fragmentAt(0, 100, 1), fragmentAt(8192, 100, 2)...))
	f.Add(7, message(unix.SOL_SOCKET, unix.SCM_DEVMEM_LINEAR, control{size: 7}))
	f.Add(9, []byte(nil))
	f.Fuzz(func(t *testing.T, n int, controls []byte) {
		const room = 256
		if n <= 0 || n > ScratchSize || len(controls) > room*controlSize {
			return
		}
		p, parts := testPair(room)
		defer p.scratch.Release()
		parts, err := p.place(n, controls, parts)
		if p.Held.Load() != tokens(parts) || len(parts) > room {
			t.Errorf("%d parts, %d tokens held", len(parts), p.Held.Load())
		}
		if err != nil {
			if !errors.Is(err, ErrControl) {
				t.Error(err)
			}
			return
		}
		sum := int64(0)
		for _, part := range parts {
			size := int64(testPool)
			if part.Host {
				size = int64(n)
			}
			if part.Off < 0 || part.Len <= 0 || part.Off+part.Len > size {
				t.Errorf("%+v of %d bytes", part, n)
			}
			sum += part.Len
		}
		if sum != int64(n) {
			t.Errorf("%d bytes, received %d", sum, n)
		}
	})
}

// tokens is how many parts have.
func tokens(parts []Part) (n int64) {
	for _, p := range parts {
		if !p.Host {
			n++
		}
	}
	return n
}
