package uapi

import (
	"errors"
	"math"
	"testing"
)

var (
	decodePin   = func(cmd uint32, in []byte) error { _, err := DecodePin(cmd, in); return err }
	decodeUnpin = func(cmd uint32, in []byte) error { _, err := DecodeUnpin(cmd, in); return err }
	decodeEvict = func(cmd uint32, in []byte) error { _, err := DecodeEvict(cmd, in); return err }
)

func TestPinRoundTrip(t *testing.T) {
	pin := Pin{Size: uint32(PinSize), Offset: 1, Length: math.MaxInt64 - 1, ForMs: math.MaxUint64, Device: 3, Pinned: 4, Cursor: 5, Path: 6, Why: 7}
	out := stale(PinSize)
	EncodePin(out, &pin)
	if got, err := DecodePin(IocPin, out); err != nil || got != pin || DecodePinReply(out) != pin {
		t.Errorf("%+v, %v", got, err)
	}
	unpin := Unpin{Size: uint32(UnpinSize), Offset: 1, Length: 2, Unpinned: 3}
	out = stale(UnpinSize)
	EncodeUnpin(out, &unpin)
	if got, err := DecodeUnpin(IocUnpin, out); err != nil || got != unpin || DecodeUnpinReply(out) != unpin {
		t.Errorf("%+v, %v", got, err)
	}
	evict := Evict{Size: uint32(EvictSize), Offset: 1, Length: 2, Evicted: 3}
	out = stale(EvictSize)
	EncodeEvict(out, &evict)
	if got, err := DecodeEvict(IocEvict, out); err != nil || got != evict || DecodeEvictReply(out) != evict {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestPinRefused: wrong input, and structures of other sizes.
func TestPinRefused(t *testing.T) {
	pin, unpin, evict := Pin{Size: uint32(PinSize)}, Unpin{Size: uint32(UnpinSize)}, Evict{Size: uint32(EvictSize)}
	flagged, zero, long := pin, pin, pin
	flagged.Flags, zero.Zero, long.Offset, long.Length = PinUnsettled, 1, 1, math.MaxInt64
	flaggedUnpin, hugeUnpin, flaggedEvict, hugeEvict := unpin, unpin, evict, evict
	flaggedUnpin.Flags, flaggedEvict.Flags = 1, 1<<31
	hugeUnpin.Offset, hugeEvict.Length = 1<<63, 1<<63
	newer := func(cmd uint32, size int, in []byte, last byte) []byte {
		in = append(in, make([]byte, size-len(in))...)
		in[0], in[size-1] = byte(size), last
		return in
	}
	for _, c := range []struct {
		name   string
		decode func(uint32, []byte) error
		cmd    uint32
		in     []byte
		want   error
	}{
		{"pin", decodePin, IocPin, encoded(pin), nil},
		{"pin: newer", decodePin, IocPin, newer(IocPin, PinSize+8, encoded(pin), 0), nil},
		{"pin: newer, and uses it", decodePin, IocPin, newer(IocPin, PinSize+8, encoded(pin), 1), ErrTooBig},
		{"pin: shorter", decodePin, IocPin, encoded(pin)[:MinPinSize-8], ErrSize},
		{"pin: size member", decodePin, IocPin, encoded(Pin{}), ErrSize},
		{"pin: flags", decodePin, IocPin, encoded(flagged), ErrFlags},
		{"pin: zero", decodePin, IocPin, encoded(zero), ErrZero},
		{"pin: overflow", decodePin, IocPin, encoded(long), ErrRange},
		{"pin: another command", decodePin, IocDigest, encoded(pin), ErrCommand},
		{"unpin", decodeUnpin, IocUnpin, encoded(unpin), nil},
		{"unpin: newer", decodeUnpin, IocUnpin, newer(IocUnpin, UnpinSize+8, encoded(unpin), 0), nil},
		{"unpin: newer, and uses it", decodeUnpin, IocUnpin, newer(IocUnpin, UnpinSize+8, encoded(unpin), 1), ErrTooBig},
		{"unpin: shorter", decodeUnpin, IocUnpin, encoded(unpin)[:MinUnpinSize-8], ErrSize},
		{"unpin: flags", decodeUnpin, IocUnpin, encoded(flaggedUnpin), ErrFlags},
		{"unpin: negative offset", decodeUnpin, IocUnpin, encoded(hugeUnpin), ErrRange},
		{"unpin: another command", decodeUnpin, IocEvict, encoded(unpin), ErrCommand},
		{"evict", decodeEvict, IocEvict, encoded(evict), nil},
		{"evict: newer", decodeEvict, IocEvict, newer(IocEvict, EvictSize+8, encoded(evict), 0), nil},
		{"evict: newer, and uses it", decodeEvict, IocEvict, newer(IocEvict, EvictSize+8, encoded(evict), 1), ErrTooBig},
		{"evict: shorter", decodeEvict, IocEvict, encoded(evict)[:MinEvictSize-8], ErrSize},
		{"evict: flags", decodeEvict, IocEvict, encoded(flaggedEvict), ErrFlags},
		{"evict: negative length", decodeEvict, IocEvict, encoded(hugeEvict), ErrRange},
		{"evict: another command", decodeEvict, IocUnpin, encoded(evict), ErrCommand},
	} {
		if err := c.decode(sized(c.cmd, len(c.in)), c.in); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func FuzzDecodePin(f *testing.F) {
	f.Add(IocPin, encoded(Pin{Size: uint32(PinSize), Length: 4096, ForMs: 1}))
	f.Add(IocPin, encoded(Pin{Size: uint32(PinSize), Zero: 1}))
	f.Fuzz(func(t *testing.T, cmd uint32, in []byte) {
		p, err := DecodePin(cmd, in)
		if err == nil && (!isCommand(cmd, NrPin, len(in)) || !sameStruct(p, uint32(len(in)), in) || p.Flags != 0 || p.Zero != 0 || !inRange(p.Offset, p.Length)) {
			t.Fatalf("accepted %#x, %+v", cmd, p)
		}
	})
}

func FuzzDecodeUnpin(f *testing.F) {
	f.Add(IocUnpin, encoded(Unpin{Size: uint32(UnpinSize), Length: 4096}))
	f.Fuzz(func(t *testing.T, cmd uint32, in []byte) {
		u, err := DecodeUnpin(cmd, in)
		if err == nil && (!isCommand(cmd, NrUnpin, len(in)) || !sameStruct(u, uint32(len(in)), in) || u.Flags != 0 || !inRange(u.Offset, u.Length)) {
			t.Fatalf("accepted %#x, %+v", cmd, u)
		}
	})
}

func FuzzDecodeEvict(f *testing.F) {
	f.Add(IocEvict, encoded(Evict{Size: uint32(EvictSize), Length: 4096}))
	f.Fuzz(func(t *testing.T, cmd uint32, in []byte) {
		e, err := DecodeEvict(cmd, in)
		if err == nil && (!isCommand(cmd, NrEvict, len(in)) || !sameStruct(e, uint32(len(in)), in) || e.Flags != 0 || !inRange(e.Offset, e.Length)) {
			t.Fatalf("accepted %#x, %+v", cmd, e)
		}
	})
}
