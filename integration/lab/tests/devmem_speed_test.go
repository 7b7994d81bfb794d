package tests

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
	"hbmfs/fs/uapi"
	"hbmfs/transport"
)

func init() { children["bare"], children["flood"] = receiveBare, flood }

const bareConnections = 4

// TestSpeedDevmem compares fetches and loans with fetches by TCP over the same
// NIC, and loans with a program that does nothing but receive into a dma-buf. All
// share the guest's CPUs with their senders. So that program is sent to in two
// ways: from the file that the target reads, which is the same work for the
// sender but for checksums, and from one buffer.
func TestSpeedDevmem(t *testing.T) {
	for _, checksums := range []string{"off", "on"} {
		t.Run("checksums="+checksums, func(t *testing.T) {
			p := newPair(t)
			p.run("ethtool", "-X", "mem1", "equal", "1") // queue 1 is the bare program's
			p.target(farAddr, big(1, 1))
			m := p.lendMount(farAddr, "--checksums", checksums)
			overTCP := mountFrom(t, farAddr+":7070", "--transport", "tcp", "--device", "udmabuf", "--pool", smallPool, "--checksums", checksums)
			fetch := func() float64 { return m.fetchRate(t, 4*megabyte).rate }
			loan := func() float64 { return m.loanRate(t, 4*megabyte).rate }
			tcp := func() float64 { return overTCP.fetchRate(t, 4*megabyte).rate }
			for _, f := range []func() float64{fetch, loan, tcp} {
				f() // the first pass over new memory is slower
			}
			t.Run("fetch", func(t *testing.T) {
				before := m.stats(t).Target.Link.Devmem
				compare(t, "fetch over tcp", fetch, tcp)
				logBusy(t, "fetch", m.fetchRate(t, 4*megabyte))
				logBusy(t, "fetch over tcp", overTCP.fetchRate(t, 4*megabyte))
				logCalls(t, before, m.stats(t).Target.Link.Devmem)
			})
			t.Run("loan", func(t *testing.T) {
				before := m.stats(t)
				compare(t, "fetch over tcp", loan, tcp)
				after := m.stats(t)
				logCalls(t, before.Target.Link.Devmem, after.Target.Link.Devmem)
				logBusy(t, "loan", m.loanRate(t, 4*megabyte))
				t.Logf("%d loans, %.2f of what was received is lent", after.Loans.Granted-before.Loans.Granted,
					float64(after.Loans.Bytes-before.Loans.Bytes)/float64(after.Target.Link.Devmem.DeviceBytes-before.Target.Link.Devmem.DeviceBytes))
			})
			t.Run("bare", func(t *testing.T) {
				b := (&pair{t, p.local}).bare()
				compare(t, "bare receive loop", loan, func() float64 { return b.rate(exportDir + "/f1") })
				compare(t, "bare receive loop, sent to from one buffer", loan, func() float64 { return b.rate("") })
			})
		})
	}
}

// logBusy logs what share of the guest's CPUs was at work, the target's included.
func logBusy(t *testing.T, what string, p pace) {
	t.Helper()
	t.Logf("%s: %.1f of the guest's CPUs at work, for %.1f ms a MiB", what, float64(p.busy)/float64(p.took), p.cost())
}

func logCalls(t *testing.T, before, after transport.DevmemStats) {
	t.Helper()
	mib := float64(after.DeviceBytes-before.DeviceBytes) / megabyte
	t.Logf("for each MiB: %.2f recvmsg, %.2f setsockopt, %.1f fragments", float64(after.Recvmsgs-before.Recvmsgs)/mib,
		float64(after.TokenCalls-before.TokenCalls)/mib, float64(after.Fragments-before.Fragments)/mib)
}

// borrowers is twice as many as have a pair of connections at a time: so one asks
// while another gives back.
const borrowers = 8

// loanRate is fetchRate by loans.
func (m *mount) loanRate(t *testing.T, window int64) pace {
	t.Helper()
	f := m.open(t, "f1", 1, 1)
	var next, bytes atomic.Int64
	busy, began := busyCPU(t), time.Now()
	var readers sync.WaitGroup
	for range borrowers {
		readers.Go(func() {
			for at := next.Add(1) - 1; at*window < speedBytes; at = next.Add(1) - 1 {
				off := at * window % fileSize
				if err := f.borrowThrough(off, off+window); err != nil {
					t.Error(err)
					return
				}
				bytes.Add(window)
			}
		})
	}
	readers.Wait()
	p := pace{took: time.Since(began), busy: busyCPU(t) - busy, mib: float64(bytes.Load()) / megabyte}
	p.rate = p.mib / p.took.Seconds()
	return p
}

// borrowThrough borrows a range, piece by piece, and releases each with the next.
func (f *file) borrowThrough(off, end int64) error {
	opts := client.FetchOptions{Loan: true, MaxSegments: uapi.MaxSegments}
	for off < end {
		r, err := f.Fetch(context.Background(), off, end-off, opts)
		if err != nil {
			return err
		}
		if !r.Loan {
			return errors.New("not lent")
		}
		off, opts.Release = off+r.Fetched, r.Handle
	}
	return f.Release(opts.Release)
}

// bareLoop is a program that receives into a dma-buf and gives all back at once.
type bareLoop struct {
	p    *pair
	line func() string
}

// bare starts one on queue 1, which nobody else uses.
func (p *pair) bare() *bareLoop {
	p.t.Helper()
	p.run("ethtool", "-N", "mem1", "flow-type", "tcp4", "dst-ip", nearAddr, "dst-port", devmemPort, "action", "1", "loc", "60")
	p.t.Cleanup(func() { p.run("ethtool", "-N", "mem1", "delete", "60") })
	r := p.local.StartCommand(p.t, child(p.t, "bare", "-listen", ":"+devmemPort))
	r.WaitLine(p.t, "listening")
	p.t.Cleanup(func() { r.Kill(p.t); r.Wait(p.t) })
	n := 0
	return &bareLoop{p, func() string { n++; return r.WaitLine(p.t, fmt.Sprintf("round %d:", n)) }}
}

// rate sends to the loop, from a file or from one buffer, and returns what it
// says of its rate, in MiB/s.
func (b *bareLoop) rate(file string) float64 {
	b.p.t.Helper()
	c := child(b.p.t, "flood", nearAddr+":"+devmemPort, strconv.Itoa(speedBytes), file)
	c.Argv = append([]string{"ip", "netns", "exec", farNS}, c.Argv...)
	s := b.p.local.StartCommand(b.p.t, c)
	var round int
	var rate float64
	if _, err := fmt.Sscanf(b.line(), "round %d: %f", &round, &rate); err != nil {
		b.p.t.Fatal(err)
	}
	s.Wait(b.p.t)
	return rate
}

// flood is a child: ADDRESS BYTES FILE. It sends as fast as it can, by
// bareConnections, FILE over and over; or if that is empty, one buffer.
func flood(args []string) error {
	total, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	var conns []net.Conn
	for range bareConnections {
		c, err := net.Dial("tcp", args[0])
		if err != nil {
			return err
		}
		defer c.Close()
		conns = append(conns, c)
	}
	errs := make(chan error)
	for _, c := range conns {
		go func() { errs <- send(c.(*net.TCPConn), args[2], total/bareConnections) }()
	}
	for range conns {
		err = errors.Join(err, <-errs)
	}
	return err
}

func send(c *net.TCPConn, file string, total int) error {
	fill := func([]byte, int64) (int, error) { return chunk, nil }
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		fill = f.ReadAt
	}
	if err := c.SetWriteBuffer(1 << 20); err != nil {
		return err
	}
	data := make([]byte, chunk)
	for at := 0; at < total; at += chunk {
		if _, err := fill(data, int64(at%fileSize)); err != nil {
			return err
		}
		if _, err := c.Write(data); err != nil {
			return err
		}
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, c)
	return err
}

// receiveBare is a child. It binds a dma-buf, and says after each round of
// connections how fast they brought what they did.
func receiveBare(args []string) error {
	flags := flag.NewFlagSet("bare", flag.ContinueOnError)
	address := flags.String("listen", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	region, err := allocate(32 << 20)
	if err != nil {
		return err
	}
	r := &receiver{region: region} // its binding ends with it
	if err := r.bind("mem1", 1); err != nil {
		return err
	}
	l, err := net.Listen("tcp4", *address)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	for n := 1; ; n++ {
		rate, err := r.bareRound(l)
		if err != nil {
			return err
		}
		fmt.Printf("round %d: %.2f MiB/s\n", n, rate)
	}
}

func (r *receiver) bareRound(l net.Listener) (float64, error) {
	var conns []net.Conn
	for range bareConnections {
		c, err := l.Accept()
		if err != nil {
			return 0, err
		}
		defer c.Close()
		conns = append(conns, c)
	}
	began := time.Now()
	ends := make(chan error)
	var total atomic.Int64
	for _, c := range conns {
		go func() { ends <- drainBare(c.(*net.TCPConn), &total) }()
	}
	var err error
	for range conns {
		err = errors.Join(err, <-ends)
	}
	return float64(total.Load()) / megabyte / time.Since(began).Seconds(), err
}

// drainBare receives all that comes, and gives the tokens of each call back.
func drainBare(c *net.TCPConn, total *atomic.Int64) error {
	f, err := c.File() // blocking
	if err != nil {
		return err
	}
	defer f.Close()
	fd, data, oob := int(f.Fd()), make([]byte, chunk), make([]byte, oobSize)
	var back []tokenRange
	for {
		n, oobn, _, _, err := unix.Recvmsg(fd, data, oob, unix.MSG_SOCK_DEVMEM)
		if err != nil || n == 0 {
			return err
		}
		if back = tokensIn(oob[:oobn], back[:0]); len(back) == 0 {
			return errors.New("payload came to host memory")
		}
		for i := 0; i < len(back); i += maxTokenRanges {
			if _, err := dontNeed(fd, back[i:min(i+maxTokenRanges, len(back))]); err != nil {
				return err
			}
		}
		total.Add(int64(n))
	}
}

// tokensIn collects the tokens of control messages, in as few ranges as their
// order allows.
func tokensIn(oob []byte, into []tokenRange) []tokenRange {
	step := unix.CmsgSpace(int(unsafe.Sizeof(fragment{})))
	for ; len(oob) >= step; oob = oob[step:] {
		token := (*fragment)(unsafe.Pointer(&oob[unix.CmsgLen(0)])).Token
		if last := len(into) - 1; last >= 0 && into[last].start+into[last].count == token {
			into[last].count++
		} else {
			into = append(into, tokenRange{token, 1})
		}
	}
	return into
}
