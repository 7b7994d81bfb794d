package server

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hbmfs/transport"
)

// TestTruncatedByReader truncates a file with open(O_RDONLY|O_TRUNC), which
// breaks no lease: the mount is told all the same.
func TestTruncatedByReader(t *testing.T) {
	r := newRig(t)
	m := r.mount()
	for _, readFirst := range []bool{true, false} {
		r.write("f", 1, 1, fileSize)
		ref := m.openSettled("f")
		fd, err := unix.Open(r.path("f"), unix.O_RDONLY|unix.O_TRUNC|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		if readFirst {
			m.isStale(ref)
		}
		if e := m.event(); e.Handle != ref.Handle {
			t.Errorf("an event about handle %d, not %d", e.Handle, ref.Handle)
		}
		m.isStale(ref)
		m.close(ref)
	}
}

func (m *mount) isStale(ref transport.FileRef) {
	m.t.Helper()
	if _, err := m.read(ref, 0, 8); !errors.Is(err, transport.ErrStale) {
		m.t.Errorf("read of a file that changed: %v", err)
	}
}

// TestWriterGoesOn has mounts that answer, and one that does not: that one loses
// its session.
func TestWriterGoesOn(t *testing.T) {
	r := newRig(t)
	r.write("f", 1, 1, fileSize)
	quiet := r.session()
	quiet.attach(false)
	lost := r.target.session(transport.SessionID(quiet.id)).ended
	good := []*mount{r.mount(), r.mount()}
	ref := quiet.openSettled("f")
	var refs []transport.FileRef
	for _, m := range good {
		refs = append(refs, m.openSettled("f"))
	}
	opened := make(chan *os.File)
	go func() { opened <- openForWriting(t, r.path("f")) }()
	select {
	case w := <-opened:
		w.Close()
	case <-time.After(patience):
		t.Fatal("the writer still waits")
	}
	for i, m := range good {
		m.isStale(refs[i])
	}
	if e := quiet.event(); e.Handle != ref.Handle || e.Reason == "" {
		t.Errorf("event %v", e)
	}
	select {
	case <-lost:
	case <-time.After(patience):
		t.Fatal("a mount that does not answer keeps its session")
	}
	if _, err := quiet.stat("d", "f"); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a lost session: %v", err)
	}
	for _, m := range good {
		m.openSettled("f")
	}
}
