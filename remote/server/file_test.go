package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/remote/wire"
	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

func TestReadRanges(t *testing.T) {
	const size = fileSize + 13
	r := newRig(t)
	r.write("f", 1, 1, size)
	m := r.mount()
	ref := m.openSettled("f")
	for _, c := range []struct {
		off int64
		n   int
		err error
	}{
		{0, 0, nil},
		{0, size, nil},
		{1, 7, nil},
		{size - 1, 1, nil},
		{size, 0, nil},
		{size, 1, transport.ErrRange},
		{size - 1, 2, transport.ErrRange},
		{-1, 1, transport.ErrRange},
		{1<<63 - 1, 1, transport.ErrRange},
	} {
		got, err := m.read(ref, c.off, c.n)
		if !errors.Is(err, c.err) {
			t.Errorf("%d bytes at %d: %v, not %v", c.n, c.off, err, c.err)
		}
		if c.err == nil {
			if err := transporttest.Check(got, tag(1, 1), c.off); err != nil {
				t.Error(err)
			}
		}
	}
	other := ref
	other.Version[0]++
	if _, err := m.read(other, 0, 8); !errors.Is(err, transport.ErrStale) {
		t.Errorf("another version: %v", err)
	}
	other = ref
	other.Handle++
	if _, err := m.read(other, 0, 8); !errors.Is(err, transport.ErrUnknownFile) {
		t.Errorf("another handle: %v", err)
	}
}

func TestReadDoesNotAllocate(t *testing.T) {
	r := newRig(t)
	r.write("leased", 1, 1, fileSize)
	r.write("unsettled", 2, 1, fileSize)
	w := openForWriting(t, r.path("unsettled"))
	defer w.Close()
	m := r.mount()
	b := make([]byte, 4096)
	for _, name := range []string{"leased", "unsettled"} {
		ref, _ := m.open(name)
		n := testing.AllocsPerRun(100, func() {
			if err := m.source.TryRead(ref, 4096, b); err != nil && err != transport.ErrWouldBlock {
				t.Error(err)
			}
			if err := m.source.Read(t.Context(), ref, 4096, b); err != nil {
				t.Error(err)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestDigest(t *testing.T) {
	const size = 3<<20 + 5
	r := newRig(t)
	r.write("f", 1, 1, size)
	m := r.mount()
	ref := m.openSettled("f")
	whole := content(1, 1, size)
	digest := func(off, n uint64) ([]byte, error) {
		reply, err := m.client.Digest(t.Context(), &wire.DigestRequest{
			Session: m.id, Handle: ref.Handle, Version: ref.Version[:], Offset: off, Length: n,
		})
		return reply.GetSha256(), err
	}
	for _, c := range [][2]uint64{{0, size}, {0, 0}, {1, 1 << 20}, {size, 0}, {size - 3, 3}} {
		got, err := digest(c[0], c[1])
		if want := sha256.Sum256(whole[c[0] : c[0]+c[1]]); err != nil || [32]byte(got) != want {
			t.Errorf("%v: %x, %v", c, got, err)
		}
	}
	for _, c := range [][2]uint64{{0, size + 1}, {size + 1, 0}, {1, 1<<64 - 1}, {1<<64 - 1, 1}} {
		if _, err := digest(c[0], c[1]); errno(err) != uint32(unix.EINVAL) {
			t.Errorf("%v: %v", c, err)
		}
	}
	openForWriting(t, r.path("f")).Close()
	if _, err := digest(0, 8); errno(err) != uint32(unix.ESTALE) {
		t.Errorf("digest of a stale file: %v", err)
	}
}

// TestDigestOfWhoLeft is of a file that is in memory, which nothing interrupts.
func TestDigestOfWhoLeft(t *testing.T) {
	const size = 3 * digestPiece
	r := newRig(t)
	r.write("f", 1, 1, size)
	m := r.mount()
	ref := m.openSettled("f")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.target.session(transport.SessionID(m.id)).digest(ctx, ref, 0, size); !errors.Is(err, context.Canceled) {
		t.Errorf("goes on: %v", err)
	}
}
