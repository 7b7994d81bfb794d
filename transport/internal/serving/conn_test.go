package serving

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/limits"
	"hbmfs/transport/transporttest"
)

// pipe is a carrier whose client gets by one read of a pipe, at most, what was
// sent by one Write.
type pipe struct{ net.Conn }

func (p pipe) Write(replies [][]byte) error {
	for _, b := range replies {
		if _, err := p.Conn.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func (p pipe) Close() { p.Conn.Close() }

// served is a Conn that runs, and its client's end.
type served struct {
	*Conn
	client, server net.Conn
	limit          *limits.Limit
	ended          chan error
}

func run(source transport.Source) served { return runIn(source, transporttest.Ample().Staging) }

func runIn(source transport.Source, staged *limits.Limit) served {
	client, server := net.Pipe()
	s := served{NewConn(context.Background(), server, pipe{server}, transport.Admission{Source: source, Client: "client"}, staged), client, server, staged, make(chan error, 1)}
	go func() { s.ended <- s.Run() }()
	return s
}

// end waits for the Conn's end, and fails the test unless nothing is staged then.
func (s served) end(t *testing.T) {
	t.Helper()
	s.client.Close()
	<-s.ended
	if n := s.limit.Used(); n != 0 {
		t.Errorf("%d bytes are still staged", n)
	}
}

// TestStagingIsGivenBack ends a connection in the middle of everything.
func TestStagingIsGivenBack(t *testing.T) {
	source := transporttest.NewSource()
	warm, cold := source.Add(1, 1<<24), source.Add(2, 1<<24)
	source.Chill(2)
	s := run(source)
	go func() {
		for i := range uint64(100) {
			r := frame.Request{ID: i, File: [2]transport.FileRef{warm, cold}[i%2], Length: uint32(i%5) << 20, Checksum: true}
			if _, err := s.client.Write(r.Append(nil)); err != nil {
				return
			}
		}
	}()
	io.CopyN(io.Discard, s.client, 3<<20+17)
	s.end(t)
}

// TestBurst asks for many small pieces at once: the replies share writes.
func TestBurst(t *testing.T) {
	source := transporttest.NewSource()
	file := source.Add(1, 1<<20)
	s := run(source)
	defer s.end(t)
	const n, size = 8, 512
	var burst []byte
	for i := range uint64(n) {
		burst = frame.Request{ID: i, File: file, Off: int64(i) * size, Length: size}.Append(burst)
	}
	go s.client.Write(burst)
	got := make([]byte, 64<<10)
	m, err := s.client.Read(got)
	if err != nil || m != n*(frame.ReplySize+size) {
		t.Fatalf("first write of %d bytes, %v", m, err)
	}
	for i := range int64(n) {
		sent := got[i*(frame.ReplySize+size):][:frame.ReplySize+size]
		if h, err := frame.ParseReply(sent); err != nil || h.ID != uint64(i) {
			t.Errorf("reply %d: %+v, %v", i, h, err)
		}
		if err := transporttest.Check(sent[frame.ReplySize:], file, i*size); err != nil {
			t.Error(err)
		}
	}
}

// TestDepth has storage that is slow: as much of it is read at a time as may be,
// and the rest waits.
func TestDepth(t *testing.T) {
	source := &countingSource{gate: make(chan struct{}), full: make(chan struct{})}
	s := run(source)
	defer s.end(t)
	const n, size = 3 * maxWorkers, 64 << 10
	go func() {
		for range n {
			s.client.Write(frame.Request{Length: size}.Append(nil))
		}
	}()
	<-source.full
	close(source.gate)
	if _, err := io.CopyN(io.Discard, s.client, n*(frame.ReplySize+size)); err != nil {
		t.Fatal(err)
	}
	if n := source.most.Load(); n != maxWorkers {
		t.Errorf("%d reads at a time, want %d", n, maxWorkers)
	}
}

// TestEndEndsReads has a client leave while its storage stalls for ever.
func TestEndEndsReads(t *testing.T) {
	source := transporttest.NewSource()
	file := source.Add(1, 4096)
	stalled := source.Hold(1)
	s := run(source)
	for range maxWorkers + maxQueued {
		s.client.Write(frame.Request{File: file, Length: 4096}.Append(nil))
	}
	<-stalled.Reached()
	s.end(t)
}

// countingSource is a fake storage that keeps reads until its gate opens.
type countingSource struct {
	gate, full chan struct{}
	once       sync.Once
	now, most  atomic.Int32
}

func (s *countingSource) TryRead(transport.FileRef, int64, []byte) error {
	return transport.ErrWouldBlock
}

func (s *countingSource) Read(_ context.Context, _ transport.FileRef, _ int64, dst []byte) error {
	n := s.now.Add(1)
	defer s.now.Add(-1)
	for most := s.most.Load(); n > most && !s.most.CompareAndSwap(most, n); most = s.most.Load() {
	}
	if n == maxWorkers {
		s.once.Do(func() { close(s.full) })
	}
	<-s.gate
	clear(dst)
	return nil
}

func (*countingSource) Call(_ context.Context, ask, dst []byte) (int, error) {
	return copy(dst, ask), nil
}

// TestDeafClientsHoldUpThemselves: clients that ask for all they can and never read
// stage no more than they may, and another's reads go on.
func TestDeafClientsHoldUpThemselves(t *testing.T) {
	source := transporttest.NewSource()
	file := source.Add(1, 1<<24)
	source.Chill(1) // so that workers stage it while the reader is held up
	const all = 64 << 20
	staged := transporttest.Bounds(1, all).Staging
	ask := func(s served, n int) {
		for i := range n {
			r := frame.Request{ID: uint64(i), File: file, Length: 1 << 20}
			if _, err := s.client.Write(r.Append(nil)); err != nil {
				return
			}
		}
	}
	var deafs []served
	defer func() {
		for _, s := range deafs { // one that waits to stage does not see its client leave
			s.client.Close()
		}
		for _, s := range deafs {
			<-s.ended
		}
	}()
	for range 8 {
		deaf := runIn(source, staged)
		go ask(deaf, 100)
		deafs = append(deafs, deaf)
	}
	for staged.Used() < all/2 {
		time.Sleep(time.Millisecond)
	}
	client, server := net.Pipe()
	other := NewConn(t.Context(), server, pipe{server}, transport.Admission{Source: source, Client: "other"}, staged)
	ended := make(chan error, 1)
	go func() { ended <- other.Run() }()
	go client.Write(frame.Request{ID: 1, File: file, Off: 4096, Length: 1 << 20}.Append(nil))
	got := make([]byte, frame.ReplySize+1<<20)
	if _, err := io.ReadFull(client, got); err != nil {
		t.Fatal(err)
	}
	if err := transporttest.Check(got[frame.ReplySize:], file, 4096); err != nil {
		t.Error(err)
	}
	if n := staged.Used(); n > all/2+1<<20 {
		t.Errorf("%d bytes are staged", n)
	}
	client.Close()
	<-ended
}
