package tests

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"unsafe"

	"github.com/mdlayher/genetlink"
	"golang.org/x/sys/unix"

	"hbmfs/cache/device"
	"hbmfs/transport"
)

// fragment is struct dmabuf_cmsg of linux/uio.h, Linux 6.12.
type fragment struct {
	Offset   uint64
	Size     uint32
	Token    uint32
	DMABufID uint32
	Flags    uint32
}

// tokenRange is struct dmabuf_token of linux/uio.h, Linux 6.12.
type tokenRange struct{ start, count uint32 }

// maxTokenRanges and maxTokens are the limits of one SO_DEVMEM_DONTNEED: Linux
// 6.12 takes 128 ranges, and 1024 fragments in all.
const (
	maxTokenRanges = 128
	oobSize        = 64 << 10
	chunk          = 1 << 20
)

// tally is what one connection brought, by kind.
type tally struct {
	DMABuf, Linear, Plain int64 // bytes
	Fragments             int
	Smallest, Largest     uint32
}

func (n tally) String() string {
	return fmt.Sprintf("dmabuf %d linear %d plain %d fragments %d of %d to %d",
		n.DMABuf, n.Linear, n.Plain, n.Fragments, n.Smallest, n.Largest)
}

func (n *tally) add(size uint32) {
	n.DMABuf += int64(size)
	n.Fragments++
	n.Smallest = min(n.Smallest, size)
	if n.Fragments == 1 {
		n.Smallest = size
	}
	n.Largest = max(n.Largest, size)
}

// receiver takes connections whose bytes a NIC puts into a dma-buf.
type receiver struct {
	region  device.Region // whose dma-buf is bound
	binding uint32
	socket  *genetlink.Conn  // which the binding ends with
	release <-chan os.Signal // if not nil: tokens are kept until one comes
	late    func() error     // if not nil: binds once the first connection has brought something
	plain   bool             // each connection is first read by a plain recv
}

// receiveDevmem is a child: it binds a dma-buf to a queue, listens, and reports
// each connection in a line.
func receiveDevmem(args []string) error {
	flags := flag.NewFlagSet("receive", flag.ContinueOnError)
	address := flags.String("listen", "", "")
	dev := flags.String("device", "mem1", "")
	queue := flags.Uint("queue", 1, "")
	size := flags.Int64("size", 16<<20, "of the dma-buf")
	hold := flags.Bool("hold", false, "keep all tokens until SIGUSR1")
	late := flags.Bool("late", false, "bind once the first connection has brought something")
	plain := flags.Bool("plain", false, "try a plain recv first, which must fail")
	if err := flags.Parse(args); err != nil {
		return err
	}
	region, err := allocate(*size)
	if err != nil {
		return err
	}
	r := receiver{region: region, plain: *plain}
	if *hold {
		release := make(chan os.Signal, 1)
		signal.Notify(release, unix.SIGUSR1)
		r.release = release
	}
	bind := func() error { return r.bind(*dev, uint32(*queue)) }
	if *late {
		r.late = bind
	} else if err := bind(); err != nil {
		return err
	}
	return r.serve(*address)
}

// bind binds the region to a queue for as long as this process lives.
func (r *receiver) bind(dev string, queue uint32) error {
	fd, _, _ := r.region.DMABuf()
	c, err := dial()
	if err != nil {
		return err
	}
	r.socket = c
	if r.binding, err = bindRX(c, dev, queue, fd); err != nil {
		return err
	}
	fmt.Println("bound as", r.binding)
	return nil
}

func allocate(size int64) (device.Region, error) {
	p, err := device.Open("udmabuf")
	if err != nil {
		return nil, err
	}
	return p.Alloc(transport.Domain{}, size)
}

func (r *receiver) serve(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	for {
		nc, err := l.Accept()
		if err != nil {
			return err
		}
		n, err := r.receive(nc.(*net.TCPConn))
		if err != nil {
			fmt.Println("failed", err)
		} else {
			fmt.Println("received", n)
		}
		nc.Close()
	}
}

// receive reads a connection to its end and checks every byte.
func (r *receiver) receive(nc *net.TCPConn) (tally, error) {
	f, err := nc.File() // blocking
	if err != nil {
		return tally{}, err
	}
	defer f.Close()
	// So that a holder sees its signal.
	if err := unix.SetsockoptTimeval(int(f.Fd()), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}); err != nil {
		return tally{}, err
	}
	s := stream{receiver: r, fd: int(f.Fd()), data: make([]byte, chunk), oob: make([]byte, oobSize)}
	if err := s.prepare(); err != nil {
		return tally{}, err
	}
	for {
		more, err := s.next()
		if !more || err != nil {
			return s.tally, err
		}
	}
}

// stream is a connection being received.
type stream struct {
	*receiver
	fd        int
	data, oob []byte
	off       int64 // of the next byte
	held      []tokenRange
	tally
}

// prepare does what is to be done once something has come.
func (s *stream) prepare() error {
	if s.late == nil && !s.plain {
		return nil
	}
	if _, err := unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}, -1); err != nil {
		return err
	}
	if s.plain {
		if n, _, err := unix.Recvfrom(s.fd, s.data, 0); !errors.Is(err, unix.EFAULT) {
			return fmt.Errorf("a plain recv of device memory: %d, %v; want %w", n, err, unix.EFAULT)
		}
	}
	if late := s.late; late != nil {
		s.late = nil
		return late()
	}
	return nil
}

// next takes what one recvmsg brings; false: no more comes.
func (s *stream) next() (bool, error) {
	n, oobn, flags, _, err := unix.Recvmsg(s.fd, s.data, s.oob, unix.MSG_SOCK_DEVMEM)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return true, s.giveBack()
	}
	if err != nil {
		return false, fmt.Errorf("recvmsg: %w", err)
	}
	if n == 0 {
		return false, nil
	}
	if flags&unix.MSG_CTRUNC != 0 {
		return false, errors.New("recvmsg: control messages are missing")
	}
	if oobn == 0 {
		s.Plain += int64(n)
		return true, s.check(s.data[:n])
	}
	messages, err := unix.ParseSocketControlMessage(s.oob[:oobn])
	if err != nil {
		return false, err
	}
	if err := s.take(messages); err != nil {
		return false, err
	}
	return true, s.giveBack()
}

func (s *stream) take(messages []unix.SocketControlMessage) error {
	linear := s.data
	for _, m := range messages {
		var f fragment
		if _, err := binary.Decode(m.Data, binary.NativeEndian, &f); err != nil {
			return err
		}
		where := linear
		switch m.Header.Type {
		case unix.SCM_DEVMEM_LINEAR:
			linear = linear[f.Size:]
			s.Linear += int64(f.Size)
		case unix.SCM_DEVMEM_DMABUF:
			if f.DMABufID != s.binding {
				return fmt.Errorf("a fragment in binding %d, not %d", f.DMABufID, s.binding)
			}
			where = s.region.Bytes()[f.Offset:]
			s.add(f.Size)
			s.held = append(s.held, tokenRange{f.Token, 1})
		default:
			return fmt.Errorf("control message of type %d", m.Header.Type)
		}
		if err := s.check(where[:f.Size]); err != nil {
			return err
		}
	}
	return nil
}

func (s *stream) check(data []byte) error {
	err := wrongWords(data, 1, 1, s.off)
	s.off += int64(len(data))
	return err
}

// giveBack returns the tokens, all of them at last; a holder at its signal.
func (s *stream) giveBack() error {
	if s.release != nil {
		select {
		case <-s.release:
			s.release = nil
		default:
			return nil
		}
	}
	for len(s.held) > 0 {
		n := min(len(s.held), maxTokenRanges)
		freed, err := dontNeed(s.fd, s.held[:n])
		if err == nil && freed != n {
			err = fmt.Errorf("%d of %d tokens were freed", freed, n)
		}
		if err != nil {
			return err
		}
		s.held = s.held[n:]
	}
	return nil
}

// dontNeed returns how many fragments the kernel took back.
func dontNeed(fd int, tokens []tokenRange) (int, error) {
	n, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_DEVMEM_DONTNEED,
		uintptr(unsafe.Pointer(&tokens[0])), uintptr(len(tokens))*unsafe.Sizeof(tokens[0]), 0)
	if errno != 0 {
		return 0, fmt.Errorf("SO_DEVMEM_DONTNEED: %w", errno)
	}
	return int(n), nil
}

// sendWords is a child: it sends words of file 1, version 1 to an address, and
// returns once the other end has closed.
func sendWords(args []string) error {
	var size int64
	if _, err := fmt.Sscan(args[1], &size); err != nil {
		return err
	}
	nc, err := net.Dial("tcp", args[0])
	if err != nil {
		return err
	}
	defer nc.Close()
	data := make([]byte, 0, chunk+8)
	for off := int64(0); off < size; {
		for data = data[:0]; len(data) < chunk && off < size; off += 8 {
			data = binary.BigEndian.AppendUint64(data, word(1, 1, off))
		}
		if _, err := nc.Write(data); err != nil {
			return err
		}
	}
	if err := nc.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, nc)
	return err
}

// receivePlain is a child: it takes connections as any program does.
func receivePlain(args []string) error {
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	fmt.Println("listening")
	for {
		nc, err := l.Accept()
		if err != nil {
			return err
		}
		data, err := io.ReadAll(nc)
		if err == nil {
			err = wrongWords(data, 1, 1, 0)
		}
		if err != nil {
			return err
		}
		fmt.Println("received", len(data))
		nc.Close()
	}
}
