package client

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"hbmfs/fs/uapi"
)

// TestRingNameTooLong: no name is cut to another, which 16 bits would do to its length.
func TestRingNameTooLong(t *testing.T) {
	const entries, names = 1, 1 << 17
	words := make([]uint64, (uapi.RingLen(entries, names)+7)/8)
	r := &Ring{mem: uapi.InitRing(bytesOfWords(words), 1, entries, names), names: names}
	for n, want := range map[int]error{uapi.RingNameMax: nil, uapi.RingNameMax + 1: unix.ENAMETOOLONG, 1<<16 + 1: unix.ENAMETOOLONG} {
		for _, kind := range []OpKind{OpFetch, OpFetchInto} {
			err := r.put(&Op{Kind: kind, Name: strings.Repeat("x", n), Into: &Buffer{}})
			if !errors.Is(err, want) {
				t.Errorf("a name of %d bytes: %v, want %v", n, err, want)
			}
		}
	}
}

func bytesOfWords(words []uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), 8*len(words))
}

// TestRingWaitsInTurn: one that waits behind another ends with its context, or the ring.
func TestRingWaitsInTurn(t *testing.T) {
	_, m := newFakeRing(t, 4, 8)
	r, err := m.NewRing(RingOptions{Entries: 4, NameBytes: 2})
	if err != nil {
		t.Fatal(err)
	}
	wait := func(ctx context.Context) <-chan error {
		ended := make(chan error, 1)
		go func() {
			_, err := r.Wait(ctx, make([]Completion, 1))
			ended <- err
		}()
		return ended
	}
	first, second := wait(context.Background()), wait(context.Background())
	time.Sleep(10 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	select {
	case err := <-wait(ctx):
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with its context: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("its context has ended, and it has not")
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	for _, ended := range []<-chan error{first, second} {
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	}
}
