package tests

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hbmfs/fs/client"
	"hbmfs/fs/uapi"
	"hbmfs/integration/lab/agent"
	"hbmfs/integration/lab/guest"
)

func init() { children["borrow"] = borrowAndHold }

// lendMount is a mount with one queue for loans.
func (p *pair) lendMount(addr string, flags ...string) *mount {
	p.t.Helper()
	return p.mount(addr, append([]string{"--queues", "1", "--lend-queues", "1"}, flags...)...)
}

// borrow has a range lent, or a beginning of it, and checks every word of that
// where it lies.
func (f *file) borrow(ctx context.Context, off, n int64) (*client.Lease, error) {
	r, err := f.Fetch(ctx, off, n, client.FetchOptions{Loan: true, MaxSegments: uapi.MaxSegments})
	if err != nil {
		return nil, err
	}
	if !r.Loan || r.Path != uapi.PathDevmemTCP || r.Fetched == 0 {
		return nil, fmt.Errorf("%d bytes at %d: %d came, lent %t, by %v (%v)", n, off, r.Fetched, r.Loan, r.Path, r.Why)
	}
	return r, f.checkWords(r)
}

func (f *file) checkWords(r *client.Lease) error {
	for _, s := range r.Segments {
		b, err := f.Bytes(s)
		if err == nil {
			err = wrongWords(b, f.number, f.version, s.FileOffset)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// borrowAll borrows until no more is lent. Of all but the first and last it
// checks the first word.
func (f *file) borrowAll(ctx context.Context) (all []*client.Lease, err error) {
	for i := range int64(1000) {
		r, err := f.Fetch(ctx, i*megabyte%fileSize, megabyte, client.FetchOptions{Loan: true, MaxSegments: uapi.MaxSegments})
		if errors.Is(err, syscall.ENOSPC) && len(all) > 0 {
			return all, errors.Join(f.checkWords(all[0]), f.checkWords(all[len(all)-1]))
		}
		if err == nil {
			err = f.checkFirst(r)
		}
		if err != nil {
			return all, err
		}
		all = append(all, r)
	}
	return all, errors.New("no end of loans")
}

// checkFirst checks the first word of each segment.
func (f *file) checkFirst(r *client.Lease) error {
	for _, s := range r.Segments {
		b, err := f.Bytes(s)
		if err == nil {
			err = wrongWords(b[:min(8, len(b))], f.number, f.version, s.FileOffset)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// release releases loans, whose words must be right until then: the first of each
// segment is looked at, and all of the last loan.
func (f *file) release(loans ...*client.Lease) error {
	if len(loans) > 0 {
		if err := f.checkWords(loans[len(loans)-1]); err != nil {
			return err
		}
	}
	for _, r := range loans {
		if err := f.checkFirst(r); err != nil {
			return err
		}
		if err := f.Release(r.Handle); err != nil {
			return err
		}
	}
	return nil
}

// repaid fails the test unless nothing is lent any more and the mount is at rest.
func (p *pair) repaid(m *mount) {
	p.t.Helper()
	eventually(p.t, 30*time.Second, "nothing is lent", func() error {
		if l := m.stats(p.t).Loans; l.Held != 0 || l.HeldBytes != 0 {
			return fmt.Errorf("%+v", l)
		}
		return nil
	})
	p.settled(m)
}

// TestLoanFetch borrows a file piece by piece, over IPv4 and IPv6.
func TestLoanFetch(t *testing.T) {
	for _, addr := range []string{farAddr, farAddr6} {
		t.Run(addr, func(t *testing.T) {
			p := newPair(t)
			p.target(addr, big(1, 1))
			m := p.lendMount(addr)
			f := m.open(t, "f1", 1, 1)
			before := p.counters()
			var loans, segments int
			for off := int64(0); off < fileSize; loans++ {
				r, err := f.borrow(t.Context(), off, min(megabyte, fileSize-off))
				if err == nil {
					err = f.release(r)
				}
				if err != nil {
					t.Fatal(err)
				}
				off, segments = off+r.Fetched, segments+len(r.Segments)
			}
			p.repaid(m)
			s, nic := m.stats(t), p.counters().minus(before)
			d := s.Target.Link.Devmem
			if d.DeviceBytes < fileSize || d.HostBytes != 0 || d.LinearBytes != 0 || s.Loans.Bytes != fileSize || s.Loans.NotLent != 0 || s.Cache.Resident.Extents != 0 {
				t.Errorf("the transport counted %+v, the mount %+v", d, s.Loans)
			}
			if nic.dmabuf < fileSize || nic.host != 0 || nic.drops != 0 {
				t.Errorf("the NIC counted %+v", nic)
			}
			t.Logf("%d MiB in %d loans, %d segments: %d bytes received in %d fragments, %d recvmsg and %d token calls",
				fileSize>>20, loans, segments, d.DeviceBytes, d.Fragments, d.Recvmsgs, d.TokenCalls)
		})
	}
}

// TestLoanBudget: who borrows too much gets ENOSPC, and more once he has given
// back. Fetches go on meanwhile.
func TestLoanBudget(t *testing.T) {
	p := newPair(t)
	p.target(farAddr, big(1, 1))
	m := p.lendMount(farAddr)
	f := m.open(t, "f1", 1, 1)
	for range 3 {
		all, err := f.borrowAll(t.Context())
		if err != nil || len(all) < 2 {
			t.Fatalf("%d loans, %v", len(all), err)
		}
		for range 4 {
			if _, err := f.fetch(t.Context(), rand.Int64N(fileSize-megabyte), megabyte); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.release(all[0]); err != nil {
			t.Fatal(err)
		}
		again, err := f.borrow(t.Context(), 8, 4096)
		if err == nil {
			err = f.release(append(all[1:], again)...)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d loans before ENOSPC", len(all))
	}
	p.repaid(m)
	if n := p.counters().drops; n != 0 {
		t.Errorf("the NIC dropped %d packets for want of memory", n)
	}
}

// TestLoanHolderKilled: what a killed process borrowed comes back.
func TestLoanHolderKilled(t *testing.T) {
	p := newPair(t)
	p.target(farAddr, big(1, 1))
	m := p.lendMount(farAddr, "--allow-other")
	exe := childForAll(t)
	c := m.startBorrower(t, exe, 0)
	if s := m.stats(t); s.Loans.Held == 0 || s.Target.Link.Devmem.Tokens == 0 {
		t.Errorf("%+v, %+v", s.Loans, s.Target.Link.Devmem)
	}
	f := m.open(t, "f1", 1, 1)
	if _, err := f.borrow(t.Context(), 0, megabyte); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("all is lent: %v", err)
	}
	c.Kill(t)
	c.Wait(t)
	p.repaid(m)
	r, err := f.borrow(t.Context(), 0, megabyte)
	if err == nil {
		err = f.release(r)
	}
	if err != nil {
		t.Error(err)
	}
}

// borrowAndHold is a child: MOUNT FILE. It borrows all it can, says "holding",
// and waits to be killed.
func borrowAndHold(args []string) error {
	mnt, err := client.OpenMount(args[0])
	if err != nil {
		return err
	}
	defer mnt.Close()
	o, err := mnt.Open(args[1])
	if err != nil {
		return err
	}
	defer o.Close()
	f := &file{File: o, number: 1, version: 1}
	all, err := f.borrowAll(context.Background())
	if err != nil {
		return err
	}
	fmt.Println("holding", len(all))
	time.Sleep(time.Hour)
	return nil
}

// startBorrower returns once the child holds all there is to be lent.
func (m *mount) startBorrower(t *testing.T, exe string, uid int) *guest.Process {
	t.Helper()
	id := strconv.Itoa(uid)
	p := guest.Local(t).StartCommand(t, agent.Command{
		Argv: []string{"setpriv", "--reuid", id, "--regid", id, "--clear-groups", exe, m.dir, filepath.Join(m.dir, "data", "f1")},
		Env:  []string{childEnv + "=borrow"}, Dir: "/",
	})
	p.WaitLine(t, "holding")
	return p
}

// TestLoanUsers: two users take turns with the one queue. While one holds
// something, the other gets none of it, and can fetch.
func TestLoanUsers(t *testing.T) {
	p := newPair(t)
	p.target(farAddr, big(1, 1))
	m := p.lendMount(farAddr, "--allow-other")
	exe := childForAll(t)
	f := m.open(t, "f1", 1, 1)
	for range 3 {
		mine, err := f.borrow(t.Context(), 0, megabyte)
		if err == nil {
			err = f.release(mine)
		}
		if err != nil {
			t.Fatal(err)
		}
		other := m.startBorrower(t, exe, 1000)
		if _, err := f.borrow(t.Context(), 0, megabyte); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("the queue is another user's: %v", err)
		}
		if _, err := f.fetch(t.Context(), 0, megabyte); err != nil {
			t.Error(err)
		}
		other.Kill(t)
		other.Wait(t)
		p.repaid(m)
	}
	if s := m.stats(t); s.Cache.Reserved != 2 {
		t.Errorf("%d regions are reserved for two users", s.Cache.Reserved)
	}
}

// TestLoanLost: what is lent stays as it is while connections, the target and the
// link go, and others come.
func TestLoanLost(t *testing.T) {
	for what, lose := range map[string]func(*testing.T, *pair, *target){
		"target killed": func(t *testing.T, p *pair, tg *target) {
			p.run("ip", "netns", "exec", farNS, "pkill", "-9", "-f", "hbmfs serve")
			tg.Wait(t)
			tg.start(t)
		},
		"link down": func(_ *testing.T, p *pair, _ *target) {
			p.run("ip", "link", "set", "mem1", "down")
			time.Sleep(time.Second)
			p.run("ip", "link", "set", "mem1", "up")
		},
	} {
		t.Run(what, func(t *testing.T) {
			p := newPair(t)
			tg := p.target(farAddr, big(1, 1))
			m := p.lendMount(farAddr)
			f := m.open(t, "f1", 1, 1)
			var held []*client.Lease
			for i := range int64(4) {
				r, err := f.borrow(t.Context(), i*megabyte, megabyte)
				if err != nil {
					t.Fatal(err)
				}
				held = append(held, r)
			}
			lose(t, p, tg)
			eventually(t, time.Minute, "loans go on", func() error {
				r, err := f.borrow(t.Context(), 8*megabyte, megabyte)
				if err != nil {
					return err
				}
				return f.release(r)
			})
			if err := f.release(held...); err != nil {
				t.Error(err)
			}
			p.repaid(m)
		})
	}
}

// TestLoanMountKilled: a mount that is killed while it lends leaves nothing that
// doctor --restore can't put back.
func TestLoanMountKilled(t *testing.T) {
	p := newPair(t)
	p.target(farAddr, big(1, 1))
	untouched := p.settings()
	m := p.lendMount(farAddr)
	f := m.open(t, "f1", 1, 1)
	r, err := f.borrow(t.Context(), 0, megabyte)
	if err != nil {
		t.Fatal(err)
	}
	m.Kill(t)
	m.Wait(t)
	if err := f.checkWords(r); err != nil {
		t.Error(err)
	}
	p.run(program(t), "doctor", "--restore")
	if now := p.settings(); now != untouched {
		t.Errorf("the NIC's settings are\n%s\nbefore the mount they were\n%s", now, untouched)
	}
	m = p.lendMount(farAddr)
	f = m.open(t, "f1", 1, 1)
	if r, err = f.borrow(t.Context(), 0, megabyte); err == nil {
		err = f.release(r)
	}
	if err != nil {
		t.Error(err)
	}
}

// TestLoanKilledOften: borrowers and mounts are killed again and again while all
// is lent that may be. The kernel gets its memory back, of which a round has over
// 110 MiB in dma-bufs.
func TestLoanKilledOften(t *testing.T) {
	p := newPair(t)
	p.target(farAddr, big(1, 1))
	exe := childForAll(t)
	round := func() {
		m := p.lendMount(farAddr)
		holder := m.startBorrower(t, exe, 0)
		p.run("cp", filepath.Join(m.dir, "data", "f1"), "/dev/null")
		m.Kill(t)
		m.Wait(t)
		holder.Kill(t)
		holder.Wait(t)
		p.run(program(t), "doctor", "--restore")
		_ = syscall.Unmount(m.dir, syscall.MNT_DETACH)
	}
	const warm, rounds = 1, 4
	var before int64
	for i := range warm + rounds {
		if i == warm {
			before = availableMemory(t)
		}
		round()
	}
	eventually(t, 30*time.Second, "memory is given back", func() error {
		if lost := before - availableMemory(t); lost > 128*megabyte {
			return fmt.Errorf("%d MiB less than %d rounds before", lost>>20, rounds)
		}
		return nil
	})
	t.Logf("%d MiB less are available after %d rounds", (before-availableMemory(t))>>20, rounds)
}

// availableMemory is the guest's, in bytes, without what it could give back.
func availableMemory(t *testing.T) int64 {
	t.Helper()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "MemAvailable:")
	n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64) // kB
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// TestLoanUnmounted: a mount that ends while it lends puts the NIC back.
func TestLoanUnmounted(t *testing.T) {
	p := newPair(t)
	p.target(farAddr, big(1, 1))
	untouched := p.settings()
	m := p.lendMount(farAddr)
	f := m.open(t, "f1", 1, 1)
	if _, err := f.borrow(t.Context(), 0, megabyte); err != nil {
		t.Fatal(err)
	}
	m.Signal(t, syscall.SIGTERM)
	m.Wait(t)
	if now := p.settings(); now != untouched {
		t.Errorf("the NIC's settings are\n%s\nbefore the mount they were\n%s", now, untouched)
	}
}

// TestLoanSoak: loans, some of them held for a while, and fetches beside them.
func TestLoanSoak(t *testing.T) {
	p := newPair(t)
	p.target(farAddr, big(1, 1), big(2, 1))
	m := p.lendMount(farAddr)
	before := p.counters()
	l := startLoad(t, 2, false, m.open(t, "f2", 2, 1))
	soak := guest.Soak(t, time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), soak)
	defer cancel()
	var borrowers sync.WaitGroup
	var count soakCount
	for i := range 4 {
		f := m.open(t, "f1", 1, 1)
		borrowers.Go(func() {
			if err := f.borrowing(ctx, rand.New(rand.NewPCG(uint64(i), 3)), &count); err != nil {
				t.Error(err)
			}
		})
	}
	borrowers.Wait()
	l.stop()
	p.repaid(m)
	d, nic := m.stats(t).Target.Link.Devmem, p.counters().minus(before)
	t.Logf("%v: %d loans, %d MiB checked; %d over budget; %d fetches, %d MiB checked; 0 wrong words; NIC: %+v",
		soak, count.loans.Load(), count.bytes.Load()>>20, count.refused.Load(), l.fetches.Load(), l.bytes.Load()>>20, nic)
	if d.HostBytes != 0 || d.LinearBytes != 0 || nic.host != 0 || nic.drops != 0 || count.loans.Load() == 0 {
		t.Errorf("transport %+v, NIC %+v", d, nic)
	}
}

type soakCount struct{ loans, bytes, refused atomic.Int64 }

// borrowing borrows until ctx ends, and holds some of the loans for a while.
func (f *file) borrowing(ctx context.Context, r *rand.Rand, count *soakCount) error {
	var held []*client.Lease
	for ctx.Err() == nil {
		n := 1 + r.Int64N([]int64{8, 4096, 64 << 10, 2 * megabyte}[r.IntN(4)])
		got, err := f.borrow(ctx, r.Int64N(fileSize-n), n)
		switch {
		case err == nil:
			count.loans.Add(1)
			count.bytes.Add(got.Fetched)
			held = append(held, got)
		case errors.Is(err, syscall.ENOSPC):
			count.refused.Add(1)
		case ctx.Err() == nil:
			return err
		}
		if err != nil || len(held) > r.IntN(20) {
			if err := f.release(held...); err != nil {
				return err
			}
			held = held[:0]
		}
	}
	return f.release(held...)
}
