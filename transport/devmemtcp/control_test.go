package devmemtcp

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/transport"
)

// message is one control message.
func message(level, kind int32, c control) []byte {
	b := make([]byte, controlSize)
	putControl(b, level, kind, c)
	return b
}

func fragmentAt(off uint64, size, token uint32) []byte {
	return message(unix.SOL_SOCKET, unix.SCM_DEVMEM_DMABUF, control{off: off, size: size, token: token, id: loopBinding})
}

const testPool = 64 << 10

// testGather is one of a pair that has nothing but a pool.
func testGather() *gather {
	rx := &receiver{pool: &loopPool{HostMemory: make(transport.HostMemory, testPool)}, binding: loopBound{pool: &loopPool{}}}
	g := new(gather)
	g.init(&conn{link: &link{}, rx: rx})
	g.begin(&slot{})
	return g
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
		{"another binding", 100, message(unix.SOL_SOCKET, unix.SCM_DEVMEM_DMABUF, control{size: 100, id: loopBinding + 1})},
		{"another type", 100, message(unix.SOL_SOCKET, unix.SCM_TIMESTAMP, control{size: 100, id: loopBinding})},
		{"another level", 100, message(unix.IPPROTO_TCP, unix.SCM_DEVMEM_DMABUF, control{size: 100, id: loopBinding})},
		{"too long a message", 100, long},
		{"cut in its data", 100, short[:controlLen-1]},
		{"cut in its header", 100, short[:unix.SizeofCmsghdr-1]},
		{"cut after the first", 200, append(fragmentAt(0, 100, 1), short[:20]...)},
	} {
		if err := testGather().add(c.n, c.control); !errors.Is(err, errControl) {
			t.Errorf("%s: %v", c.what, err)
		} else {
			t.Logf("%s: %v", c.what, err)
		}
	}
}

// TestMixed has device memory, bytes that were not split, and device memory in
// one receive.
func TestMixed(t *testing.T) {
	g := testGather()
	linear := message(unix.SOL_SOCKET, unix.SCM_DEVMEM_LINEAR, control{size: 7})
	var all []byte
	for _, m := range [][]byte{fragmentAt(0, 10, 1), fragmentAt(4096, 20, 2), linear, linear, fragmentAt(8192, 30, 3)} {
		all = append(all, m...)
	}
	if err := g.add(74, all); err != nil {
		t.Fatal(err)
	}
	want := []part{
		{at: 0, from: 0, until: 2},
		{at: 30, host: true, from: 0, until: 7},
		{at: 37, host: true, from: 7, until: 14},
		{at: 44, from: 2, until: 3},
	}
	if len(g.parts) != len(want) || g.n != 74 || !g.hosts {
		t.Fatalf("%+v, %d bytes", g.parts, g.n)
	}
	for i := range want {
		if g.parts[i] != want[i] {
			t.Errorf("part %d: %+v, want %+v", i, g.parts[i], want[i])
		}
	}
	if g.back.count != 3 || len(g.back.ranges) != 1 {
		t.Errorf("tokens %+v", g.back)
	}
}

// FuzzControls: whatever the messages say, what is gathered lies in the pool or
// in the host's buffer, and is as much as was received.
func FuzzControls(f *testing.F) {
	f.Add(100, fragmentAt(0, 100, 1))
	f.Add(200, append(fragmentAt(0, 100, 1), fragmentAt(8192, 100, 2)...))
	f.Add(7, message(unix.SOL_SOCKET, unix.SCM_DEVMEM_LINEAR, control{size: 7}))
	f.Add(9, []byte(nil))
	f.Fuzz(func(t *testing.T, n int, controls []byte) {
		if n <= 0 || n > scratchSize || len(controls) > fragmentsPerGather*controlSize {
			return
		}
		g := testGather()
		if err := g.add(n, controls); err != nil {
			if !errors.Is(err, errControl) {
				t.Error(err)
			}
			return
		}
		sum := int64(0)
		for _, p := range g.parts {
			if p.at != sum {
				t.Errorf("part at %d, want %d", p.at, sum)
			}
			if p.host {
				if p.from < 0 || p.until > n || p.from >= p.until {
					t.Errorf("part %+v of %d bytes", p, n)
				}
				sum += int64(p.until - p.from)
				continue
			}
			for _, s := range g.spans[p.from:p.until] {
				if s.Check() != nil || s.Len == 0 {
					t.Errorf("span %d+%d", s.Off, s.Len)
				}
				sum += s.Len
			}
		}
		if sum != int64(n) || g.n != sum || len(g.spans) > fragmentsPerGather {
			t.Errorf("%d bytes, received %d", sum, n)
		}
	})
}
