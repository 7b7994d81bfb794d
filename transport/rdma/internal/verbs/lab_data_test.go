//go:build linux && cgo

package verbs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"syscall"
	"testing"
	"time"
)

// tag fills b with words that tell their file and offset.
func tag(b []byte, file uint64) {
	for off := 0; off+8 <= len(b); off += 8 {
		binary.LittleEndian.PutUint64(b[off:], file<<32|uint64(off))
	}
}

func TestLabTransfer(t *testing.T) {
	labAddr(t)
	noLeak(t)
	client, server := connected(t)
	defer server.close()
	defer client.close()

	sends(client, server)
	sends(server, client)
	writes(server, client)
	flush(client)
	check(t, client.id.Disconnect())
	server.event(Disconnected)
	check(t, server.id.Disconnect()) // the answer
	client.event(Disconnected)
}

// sends posts a batch longer than a chunk of the shim, of which the last is signaled.
func sends(from, to *side) {
	const count, size = 40, 64
	from.t.Helper()
	tag(from.mem[:count*size], 7)
	clear(to.mem)
	var (
		recvs []Recv
		works []Work
	)
	for i := range uint64(count) {
		recvs = append(recvs, Recv{ID: i, Local: Addr(to.mem) + i*size, Len: size, LKey: to.mr.LKey})
		works = append(works, Work{ID: 100 + i, Op: WorkSend, Local: Addr(from.mem) + i*size, Len: size, LKey: from.mr.LKey, Signaled: i == count-1})
	}
	check(to.t, to.qp.PostRecv(recvs))
	from.post(works...)
	for i, c := range to.completions(count) {
		if want := (Completion{ID: uint64(i), Op: OpRecv, Bytes: size}); c != want {
			to.t.Fatalf("%+v, want %+v", c, want)
		}
	}
	from.completion(Completion{ID: 100 + count - 1, Op: OpSend})
	if !bytes.Equal(from.mem[:count*size], to.mem[:count*size]) {
		to.t.Error("the bytes differ")
	}
}

// writes sends 1 MiB, and then one record with immediate data.
func writes(from, to *side) {
	from.t.Helper()
	tag(from.mem, 9)
	clear(to.mem)
	check(to.t, to.qp.PostRecv([]Recv{{ID: 1}}))
	half := Work{Op: WorkWrite, Local: Addr(from.mem), Len: labSize / 2, LKey: from.mr.LKey, Remote: to.mr.Addr, RKey: to.mr.RKey}
	rest := half
	rest.ID, rest.Op, rest.Imm, rest.Signaled = 2, WorkWriteImm, 0xfeed0001, true
	rest.Local += labSize / 2
	rest.Remote += labSize / 2
	from.post(half, rest)
	to.completion(Completion{ID: 1, Op: OpRecvWithImm, Bytes: labSize / 2, Imm: 0xfeed0001, HasImm: true})
	from.completion(Completion{ID: 2, Op: OpWrite})
	if !bytes.Equal(from.mem, to.mem) {
		to.t.Error("the bytes differ")
	}
}

// flush shows that a failed queue pair gives every request back.
func flush(s *side) {
	s.t.Helper()
	check(s.t, s.qp.PostRecv([]Recv{{ID: 1}, {ID: 2}}))
	check(s.t, s.qp.Fail())
	for i, c := range s.completions(2) {
		if c.ID != uint64(i+1) || c.Status != StatusFlushed {
			s.t.Errorf("%+v", c)
		}
	}
}

func TestLabReject(t *testing.T) {
	labAddr(t)
	noLeak(t)
	server, l := listen(t)
	client := &side{t: t, events: must(NewEvents())(t)}
	addr := l.Local()
	client.resolve(addr)
	check(t, client.id.Connect(77, []byte("let me in")))
	req := server.event(ConnectRequest)
	check(t, req.ID.Reject([]byte("go away")))
	if ev := client.event(Rejected); string(ev.Private[:7]) != "go away" {
		t.Errorf("%+v", ev)
	}
	check(t, req.ID.Close())
	if err := req.ID.Accept(1, nil); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("Accept on a closed identifier: %v", err)
	}
	if err := server.events.Close(); err == nil {
		t.Error("the channel closed under its listener")
	}
	check(t, l.Close())

	check(t, client.id.Close())
	client.resolve(addr)
	check(t, client.id.Connect(77, nil))
	client.event(Rejected) // nobody listens
	if err := client.id.Connect(77, make([]byte, MaxConnectPrivate+1)); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("too much private data: %v", err)
	}
	check(t, client.id.Close())
	check(t, client.events.Close())
	check(t, server.events.Close())
}

func TestLabInterrupt(t *testing.T) {
	labAddr(t)
	noLeak(t)
	s, l := listen(t)
	next := make(chan error)
	go func() { _, err := s.events.Next(); next <- err }()
	s.events.Interrupt()
	if err := <-next; !errors.Is(err, ErrInterrupted) {
		t.Errorf("Next: %v", err)
	}
	if _, err := s.events.Next(); !errors.Is(err, ErrInterrupted) {
		t.Errorf("Next again: %v", err)
	}
	s.events.Resume()
	go func() { _, err := s.events.Next(); next <- err }()
	select {
	case err := <-next:
		t.Errorf("Next, resumed: %v", err)
	case <-time.After(50 * time.Millisecond):
		s.events.Interrupt()
		<-next
	}
	name, _ := l.Device()
	ctx := must(Open(name))(t)
	cq := must(ctx.NewCQ(8))(t)
	check(t, cq.Wait()) // arms
	go func() { next <- cq.Wait() }()
	cq.Interrupt()
	if err := <-next; !errors.Is(err, ErrInterrupted) {
		t.Errorf("Wait: %v", err)
	}
	if err := cq.Wait(); !errors.Is(err, ErrInterrupted) {
		t.Errorf("Wait again: %v", err)
	}
	check(t, cq.Close())
	check(t, ctx.Close())
	check(t, l.Close())
	check(t, s.events.Close())
}

func TestLabDMABuf(t *testing.T) {
	labAddr(t)
	noLeak(t)
	client, server := connected(t)
	defer server.close()
	defer client.close()
	if m, err := client.pd.RegisterDMABuf(-1, 0, 4096, 0, LocalWrite); err == nil {
		t.Errorf("no dma-buf is registered: %+v", m)
	} else if !errors.Is(err, syscall.EOPNOTSUPP) {
		t.Errorf("Soft-RoCE answers %v", err)
	}
}

// TestLabHotPath shows that a request makes no garbage.
func TestLabHotPath(t *testing.T) {
	labAddr(t)
	client, server := connected(t)
	defer server.close()
	defer client.close()
	work := make([]Work, 1)
	recv := make([]Recv, 1)
	buf := make([]Completion, 4)
	rounds := testing.AllocsPerRun(20, func() {
		recv[0] = Recv{Local: Addr(client.mem), Len: 8, LKey: client.mr.LKey}
		work[0] = Work{Op: WorkSend, Local: Addr(server.mem), Len: 8, LKey: server.mr.LKey, Signaled: true}
		if client.qp.PostRecv(recv) != nil || server.qp.Post(work) != nil {
			t.Error("post failed")
		}
		for _, s := range []*side{client, server} {
			for n := 0; n == 0; {
				if n, _ = s.cq.Poll(buf); n == 0 && s.cq.Wait() != nil {
					t.Error("wait failed")
					return
				}
			}
		}
	})
	if rounds != 0 {
		t.Errorf("%v allocations a request", rounds)
	}
}
