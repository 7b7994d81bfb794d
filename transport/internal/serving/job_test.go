package serving

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/transporttest"
)

// appendCall appends a call's frame and ask.
func appendCall(b []byte, id uint64, linked bool, ask []byte) []byte {
	return append(frame.Request{ID: id, Call: true, Length: uint32(len(ask)), Linked: linked}.Append(b), ask...)
}

// next reads one reply.
func (s served) next(t *testing.T) (frame.Reply, []byte) {
	t.Helper()
	b := make([]byte, frame.ReplySize)
	if _, err := io.ReadFull(s.client, b); err != nil {
		t.Fatal(err)
	}
	h, err := frame.ParseReply(b)
	if err != nil {
		t.Fatal(err)
	}
	payload := make([]byte, h.Length)
	if _, err := io.ReadFull(s.client, payload); err != nil {
		t.Fatal(err)
	}
	return h, payload
}

// TestCalls has calls of all lengths come in pieces of every size.
func TestCalls(t *testing.T) {
	s := run(transporttest.NewSource())
	defer s.end(t)
	var asks [][]byte
	var stream []byte
	for n := 1; n <= transport.MaxCall; n += 31 {
		ask := bytes.Repeat([]byte{byte(n)}, n)
		stream = appendCall(stream, uint64(len(asks)), false, ask)
		asks = append(asks, ask)
	}
	go func() {
		for n := 1; len(stream) > 0; n++ {
			n = min(n, len(stream))
			s.client.Write(stream[:n])
			stream = stream[n:]
		}
	}()
	for range asks {
		h, answer := s.next(t)
		if !h.Answer || !bytes.Equal(answer, asks[h.ID]) {
			t.Errorf("call %d: %+v %x", h.ID, h, answer)
		}
		asks[h.ID] = nil // once
	}
}

// TestChainSharesWrite: what is linked goes along, if it is at hand and small.
func TestChainSharesWrite(t *testing.T) {
	source := transporttest.NewSource()
	s := run(source)
	defer s.end(t)
	ask, file := transporttest.Opens(3, 1<<20)
	const size = 4096
	b := appendCall(nil, 1, true, ask)
	b = frame.Request{ID: 2, File: file, Off: 8, Length: size}.Append(b)
	go s.client.Write(b)
	got := make([]byte, 64<<10)
	n, err := s.client.Read(got)
	if err != nil || n != 2*frame.ReplySize+len(ask)+size {
		t.Fatalf("first write of %d bytes, %v", n, err)
	}
	if err := transporttest.Check(got[2*frame.ReplySize+len(ask):n], file, 8); err != nil {
		t.Error(err)
	}
}

// slowCalls answers calls only once its gate opens.
type slowCalls struct {
	*transporttest.Source
	began chan struct{}
	gate  chan struct{}
}

func (s slowCalls) Call(ctx context.Context, ask, dst []byte) (int, error) {
	s.began <- struct{}{}
	select {
	case <-s.gate:
		return s.Source.Call(ctx, ask, dst)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// TestChainWaits: what is linked to a call begins when that is answered, and keeps
// nothing else waiting; what is large, or not in memory, comes after the answer.
func TestChainWaits(t *testing.T) {
	source := slowCalls{transporttest.NewSource(), make(chan struct{}, 1), make(chan struct{})}
	other := source.Add(1, 1<<20)
	s := run(source)
	defer s.end(t)
	ask, file := transporttest.Opens(2, 1<<20)
	b := appendCall(nil, 1, true, ask)
	b = frame.Request{ID: 2, File: file, Length: 1 << 20, Linked: true}.Append(b)
	b = frame.Request{ID: 3, File: file, Off: 64, Length: 64}.Append(b)
	b = frame.Request{ID: 4, File: other, Length: 8}.Append(b)
	go s.client.Write(b)
	<-source.began
	if h, _ := s.next(t); h.ID != 4 {
		t.Fatalf("%+v came first", h)
	}
	close(source.gate)
	var came []uint64
	for range 3 {
		h, payload := s.next(t)
		if came = append(came, h.ID); h.ID == 2 {
			if err := transporttest.Check(payload, file, 0); err != nil {
				t.Error(err)
			}
		}
	}
	if !slices.Equal(came, []uint64{1, 2, 3}) {
		t.Errorf("replies %v", came)
	}
}

// TestChainOfFailure: what is linked to a call that failed is answered too.
func TestChainOfFailure(t *testing.T) {
	s := run(failingCalls{transporttest.NewSource()})
	defer s.end(t)
	b := appendCall(nil, 1, true, []byte("?"))
	b = frame.Request{ID: 2, File: transport.FileRef{Handle: 9}, Length: 8}.Append(b)
	go s.client.Write(b)
	for i, want := range []error{transport.ErrSource, transport.ErrUnknownFile} {
		if h, _ := s.next(t); h.ID != uint64(i+1) || !errors.Is(h.Status.Err(), want) {
			t.Errorf("%+v, want %v", h, want)
		}
	}
}

type failingCalls struct{ *transporttest.Source }

func (failingCalls) Call(context.Context, []byte, []byte) (int, error) {
	return 0, errors.New("fake source: out of order")
}

// TestChainsRefused: a client can't have the target keep a chain without end, or
// more asks than jobs.
func TestChainsRefused(t *testing.T) {
	call := appendCall(nil, 1, true, []byte{1})
	linked := frame.Request{ID: 2, Length: 8, Linked: true}.Append(nil)
	for what, b := range map[string][]byte{
		"without end":    slices.Concat(call, bytes.Repeat(linked, maxChain-1)),
		"of calls":       appendCall(call, 3, false, []byte{1}),
		"without a call": frame.Request{ID: 3, Length: 8}.Append(linked),
	} {
		s := run(transporttest.NewSource())
		go s.client.Write(b)
		if err := <-s.ended; !errors.Is(err, transport.ErrProtocol) {
			t.Errorf("%s: %v", what, err)
		}
		s.client.Close()
	}
}

// TestEndEndsCalls has a client leave while calls are under way, and others wait.
func TestEndEndsCalls(t *testing.T) {
	source := slowCalls{transporttest.NewSource(), make(chan struct{}, maxWorkers), nil}
	s := run(source)
	chain := frame.Request{ID: 2, Length: 8}.Append(appendCall(nil, 1, true, []byte{1}))
	for range maxWorkers + maxQueued {
		s.client.Write(chain)
	}
	<-source.began
	s.end(t)
}

// TestCallsPassReads: reads of storage that stalls keep no call waiting, also not one
// that such a read is linked to.
func TestCallsPassReads(t *testing.T) {
	source := transporttest.NewSource()
	cold := source.Add(1, 1<<20)
	hold := source.Hold(1)
	defer hold.Release()
	s := run(source)
	defer s.end(t)
	var b []byte
	for range maxWorkers + 4 {
		b = frame.Request{ID: 1, File: cold, Length: 8}.Append(b)
	}
	for range maxWorkers + 4 {
		b = appendCall(b, 2, true, []byte("?"))
		b = frame.Request{ID: 1, File: cold, Length: 8}.Append(b)
	}
	go s.client.Write(b)
	for range maxWorkers + 4 {
		if h, answer := s.next(t); h.ID != 2 || string(answer) != "?" {
			t.Fatalf("%+v", h)
		}
	}
	hold.Release()
	for range 2 * (maxWorkers + 4) {
		if h, payload := s.next(t); h.ID != 1 || transporttest.Check(payload, cold, 0) != nil {
			t.Errorf("%+v %x", h, payload)
		}
	}
}
