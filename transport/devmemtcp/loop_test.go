package devmemtcp

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/transport"
	"hbmfs/transport/devmemtcp/internal/receive"
	"hbmfs/transport/transporttest"
)

const (
	loopPage    = 4096
	loopBinding = 7
	// dmabufCmsgSize is what struct dmabuf_cmsg takes.
	dmabufCmsgSize = 24
)

var controlSize = unix.CmsgSpace(dmabufCmsgSize)

// control is a control message, as the kernel makes them.
type control struct {
	off             uint64
	size, token, id uint32
}

// loop is a NIC that there is not: what comes over ordinary connections is put
// into pages of a pool, in fragments of all sizes, and said by control messages
// as the kernel does. What was given back is overwritten at once.
type loop struct {
	tb testing.TB

	mu     sync.Mutex        // guards all below
	pools  []*loopPool       // by number, which is also a binding's
	bound  map[int]*loopPool // of queues
	rules  map[int]int       // how many steer to a queue
	steers map[uint16]int    // of local ports
	users  int               // open ports, bindings and rules
	spoils []func(*loopReceived)
	live   map[*loopSocket]struct{}
	sound  error // what Check says
	gone   error // what opening the NIC says
	opened int
	binds  int           // all that were made
	unbind time.Duration // what the kernel takes to end one; set while nothing is under way
}

// loopReceived is what one Receive of the loop is about to return.
type loopReceived struct {
	socket   *loopSocket
	host     []byte
	control  []byte // all there is room for
	n        int
	controls int
	err      error
}

func newLoop(tb testing.TB) *loop {
	l := &loop{tb: tb, live: make(map[*loopSocket]struct{}), bound: make(map[int]*loopPool), rules: make(map[int]int), steers: make(map[uint16]int)}
	tb.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.users != 0 || len(l.live) != 0 {
			tb.Errorf("%d of NIC, bindings and rules are left, and %d sockets", l.users, len(l.live))
		}
	})
	return l
}

func (l *loop) config() Config {
	return Config{
		NIC:       "loop",
		Pool:      l.alloc,
		openNIC:   l.open,
		newSocket: l.socket,
	}
}

// spoil has the next Receive that brings something be changed by f.
func (l *loop) spoil(f func(*loopReceived)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spoils = append(l.spoils, f)
}

func (l *loop) open(Config) (nicPort, error) {
	l.use(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opened++
	if l.gone != nil {
		l.users--
		return nil, l.gone
	}
	l.sound = nil
	return loopNIC{l}, nil
}

func (l *loop) check() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sound
}

func (l *loop) bindings() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.binds
}

func (l *loop) use(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.users += n
}

func (l *loop) alloc(size int64) (PoolMemory, error) {
	p := l.newPool(transport.Domain{}, size)
	transporttest.Scribble(p.Mapped)
	return p, nil
}

func (l *loop) reserve(dom transport.Domain, size int64) (transport.LoanMemory, error) {
	return l.newPool(dom, size), nil
}

func (l *loop) newPool(dom transport.Domain, size int64) *loopPool {
	p := &loopPool{Mapped: make(transporttest.Mapped, size), loop: l, dom: dom, free: rand.Perm(int(size / loopPage))}
	l.use(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	p.number = len(l.pools)
	l.pools = append(l.pools, p)
	return p
}

// page takes a page as the NIC does.
func (p *loopPool) page() int {
	p.loop.mu.Lock()
	defer p.loop.mu.Unlock()
	if len(p.free) == 0 {
		p.loop.tb.Error("the pool is empty")
		return 0
	}
	n := p.free[0]
	p.free = p.free[1:]
	return n
}

// giveBack has the NIC write over the page.
func (p *loopPool) giveBack(n int) {
	p.loop.mu.Lock()
	defer p.loop.mu.Unlock()
	if p.closed {
		p.loop.tb.Error("a page of memory that was closed is given back")
	}
	transporttest.Scribble(p.Mapped[n*loopPage:][:loopPage])
	p.free = append(p.free, n)
}

// loopPool is memory that the loop puts payload into.
type loopPool struct {
	transporttest.Mapped
	loop   *loop
	number int
	dom    transport.Domain
	free   []int // pages; guarded by loop.mu
	closed bool  // likewise
}

func (p *loopPool) Domain() transport.Domain   { return p.dom }
func (p *loopPool) DMABuf() (int, int64, bool) { return p.number, 0, true }

func (p *loopPool) Close() error {
	p.loop.use(-1)
	p.loop.mu.Lock()
	defer p.loop.mu.Unlock()
	for q, bound := range p.loop.bound {
		if bound == p || p.closed || len(p.free) != int(p.Size()/loopPage) {
			p.loop.tb.Errorf("memory %d is closed: at queue %d %t, before %t, %d pages are free", p.number, q, bound == p, p.closed, len(p.free))
		}
	}
	p.closed = true
	return nil
}

type loopNIC struct{ *loop }

func (loopNIC) Queues() []int          { return []int{1, 2, 3} }
func (loopNIC) RingSize() (int, error) { return 64, nil }
func (loopNIC) MTU() int               { return 1500 }
func (n loopNIC) Check() error         { return n.check() }
func (n loopNIC) Close() error         { n.use(-1); return nil }

func (n loopNIC) Bind(fd int, queues ...int) (receive.Binding, error) {
	n.use(1)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.binds++
	b := loopBound{n.loop, n.pools[fd], queues}
	for _, q := range queues {
		if n.bound[q] != nil || n.rules[q] != 0 || len(b.pool.free) != int(b.pool.Size()/loopPage) {
			n.tb.Errorf("binding queue %d to memory %d: bound %v, %d rules, %d pages are free", q, fd, n.bound[q], n.rules[q], len(b.pool.free))
		}
		n.bound[q] = b.pool
	}
	return b, nil
}

func (n loopNIC) Steer(local, remote netip.AddrPort, queue int) (io.Closer, error) {
	n.use(1)
	n.mu.Lock()
	defer n.mu.Unlock()
	if !local.IsValid() || local.Port() == 0 || !remote.IsValid() || n.bound[queue] == nil {
		n.tb.Errorf("steering %v to %v, queue %d", remote, local, queue)
	}
	n.steers[local.Port()] = queue
	n.rules[queue]++
	return loopRule{n.loop, queue}, nil
}

type loopRule struct {
	*loop
	queue int
}

func (r loopRule) Close() error {
	r.use(-1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rules[r.queue]--
	return nil
}

type loopBound struct {
	*loop
	pool   *loopPool
	queues []int
}

func (b loopBound) ID() uint32 { return loopBinding + uint32(b.pool.number) }

func (b loopBound) Close() error {
	time.Sleep(b.unbind)
	b.use(-1)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, q := range b.queues {
		delete(b.bound, q)
	}
	return nil
}

// loopSocket is a connection whose payload lands in the loop's pool.
type loopSocket struct {
	*receive.KernelSocket
	rc   syscall.RawConn
	loop *loop
	pool *loopPool

	mu     sync.Mutex // guards all below
	tokens map[uint32]int
	last   uint32
}

func (l *loop) socket(d dialled) (receive.Socket, error) {
	k, err := receive.NewKernelSocket(d.data)
	rc, rerr := d.data.SyscallConn()
	s := &loopSocket{KernelSocket: k, rc: rc, loop: l, tokens: make(map[uint32]int)}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.pool = l.bound[l.steers[addrPort(d.data.LocalAddr()).Port()]]
	l.live[s] = struct{}{}
	return s, errors.Join(err, rerr)
}

func (s *loopSocket) Receive(host, control []byte) (n, controls int, err error) {
	data, err := s.peel(min(len(host), len(control)/controlSize*64))
	if err != nil || len(data) == 0 {
		return 0, 0, err
	}
	r := loopReceived{socket: s, host: host, control: control, n: len(data)}
	for len(data) > 0 {
		f := min(1+rand.IntN(loopPage), len(data))
		if r.controls/controlSize == len(control)/controlSize-1 || len(data) < 64 {
			f = min(len(data), loopPage)
		}
		r.say(unix.SCM_DEVMEM_DMABUF, s.place(data[:f]))
		data = data[f:]
	}
	s.loop.mu.Lock()
	var f func(*loopReceived)
	if len(s.loop.spoils) > 0 {
		f, s.loop.spoils = s.loop.spoils[0], s.loop.spoils[1:]
	}
	s.loop.mu.Unlock()
	if f != nil {
		f(&r)
	}
	return r.n, r.controls, r.err
}

// peel reads from the connection into ordinary memory.
func (s *loopSocket) peel(most int) (b []byte, err error) {
	b = make([]byte, most)
	n := 0
	rerr := s.rc.Read(func(fd uintptr) bool {
		n, _, err = unix.Recvfrom(int(fd), b, unix.MSG_DONTWAIT)
		return err != unix.EAGAIN
	})
	return b[:max(n, 0)], errors.Join(rerr, err)
}

// place puts a fragment into a page of its own, anywhere in it.
func (s *loopSocket) place(data []byte) control {
	page := s.pool.page()
	off := page*loopPage + rand.IntN(loopPage-len(data)+1)
	copy(s.pool.Mapped[off:], data)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last += 1 + rand.Uint32N(10)/9
	s.tokens[s.last] = page
	return control{off: uint64(off), size: uint32(len(data)), token: s.last, id: loopBinding + uint32(s.pool.number)}
}

// say appends a control message.
func (r *loopReceived) say(kind int32, c control) {
	putControl(r.control[r.controls:], unix.SOL_SOCKET, kind, c)
	r.controls += controlSize
}

func putControl(b []byte, level, kind int32, c control) {
	binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(dmabufCmsgSize)))
	binary.NativeEndian.PutUint32(b[8:], uint32(level))
	binary.NativeEndian.PutUint32(b[12:], uint32(kind))
	binary.NativeEndian.PutUint64(b[16:], c.off)
	binary.NativeEndian.PutUint32(b[24:], c.size)
	binary.NativeEndian.PutUint32(b[28:], c.token)
	binary.NativeEndian.PutUint32(b[32:], c.id)
	binary.NativeEndian.PutUint32(b[36:], 0)
}

func readControl(b []byte) control {
	return control{
		off:  binary.NativeEndian.Uint64(b[16:]),
		size: binary.NativeEndian.Uint32(b[24:]), token: binary.NativeEndian.Uint32(b[28:]), id: binary.NativeEndian.Uint32(b[32:]),
	}
}

// linear moves what was received to host memory, of which messages tell if told
// is set.
func (r *loopReceived) linear(told bool) {
	at := 0
	for rest := r.control[:r.controls]; len(rest) > 0; {
		c := readControl(rest)
		at += copy(r.host[at:], r.socket.pool.Mapped[c.off:][:c.size])
		r.socket.DontNeed([]receive.TokenRange{{Start: c.token, Count: 1}})
		rest = rest[controlSize:]
	}
	r.controls = 0
	if told {
		r.say(unix.SCM_DEVMEM_LINEAR, control{size: uint32(r.n)})
	}
}

func (s *loopSocket) DontNeed(ranges []receive.TokenRange) (freed int, err error) {
	if len(ranges) > 128 { // MAX_DONTNEED_TOKENS
		return 0, syscall.EINVAL
	}
	for _, r := range ranges {
		for t := r.Start; t != r.Start+r.Count; t++ {
			s.mu.Lock()
			page, ok := s.tokens[t]
			delete(s.tokens, t)
			s.mu.Unlock()
			if ok {
				s.pool.giveBack(page)
				freed++
			}
		}
	}
	return freed, nil
}

func (s *loopSocket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, page := range s.tokens {
		s.pool.giveBack(page)
	}
	clear(s.tokens)
	s.loop.mu.Lock()
	defer s.loop.mu.Unlock()
	delete(s.loop.live, s)
	return s.KernelSocket.Close()
}
