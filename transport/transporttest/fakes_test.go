package transporttest

import (
	"encoding/binary"
	"errors"
	"testing"

	"go.uber.org/goleak"

	"hbmfs/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestCheckNotices plants what a transport could get wrong.
func TestCheckNotices(t *testing.T) {
	s := NewSource()
	file, other := s.Add(1, 4096), s.Add(2, 4096)
	newer := s.Change(1)
	for _, off := range []int64{0, 3, 1000} {
		good := make([]byte, 64)
		Fill(good, file, off)
		if err := Check(good, file, off); err != nil {
			t.Error(err)
		}
		for what, err := range map[string]error{
			"another file":    Check(good, other, off),
			"another version": Check(good, newer, off),
			"another offset":  Check(good, file, off+8),
			"shifted":         Check(good, file, off+1),
		} {
			if err == nil {
				t.Errorf("at %d: %s went unnoticed", off, what)
			}
		}
		good[63] ^= 1
		if Check(good, file, off) == nil {
			t.Errorf("at %d: a bit went unnoticed", off)
		}
	}
}

func TestWordIsLittleEndian(t *testing.T) {
	file := NewSource().Add(0x1234, 4096)
	var b [8]byte
	Fill(b[:], file, 80)
	if got, want := binary.LittleEndian.Uint64(b[:]), uint64(0x1234_0001_0000000a); got != want || Word(file, 80) != want {
		t.Errorf("%#x and %#x, want %#x", got, Word(file, 80), want)
	}
}

// TestFakeDeviceIsHard checks that bytes only show after Visible, and not at all
// once the memory is revoked.
func TestFakeDeviceIsHard(t *testing.T) {
	d := NewFakeDevice(t, 64)
	file := NewSource().Add(1, 64)
	src := make([]byte, 32)
	Fill(src, file, 0)
	did := make(chan error)
	end := func(err error) { did <- err }

	d.CopyIn(8, src, end)
	if err := <-did; err != nil || !Scribbled(d.Read(0, 64)) {
		t.Errorf("seen before Visible, or %v", err)
	}
	d.Visible(end)
	if err := errors.Join(<-did, Check(d.Read(8, 32), file, 0)); err != nil {
		t.Error(err)
	}
	d.Gather(40, []transport.Span{{Mem: d, Off: 8, Len: 8}, {Mem: NewMapped(8), Len: 8}}, end)
	d.Visible(end)
	if err := errors.Join(<-did, <-did, Check(d.Read(40, 8), file, 0)); err != nil {
		t.Error(err)
	}
	d.Pause()
	d.CopyIn(0, src, end)
	d.Waiting(1)
	d.Revoke()
	if err := <-did; !errors.Is(err, transport.ErrRevoked) {
		t.Errorf("revoked: %v", err)
	}
}
