package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/integration/process"
)

const (
	churnPool = "8MiB" // for each of two users; clients hold more than that, if they can
	// churnRound is how long clients come and go until it is looked at what they left.
	churnRound = 30 * time.Second
	// killEvery is how often a client is killed that does not do that itself.
	killEvery = 20 * time.Millisecond
	// rssShare and rssMore are by how much the memory of a daemon may be more than in the
	// first half of the rounds. If those were few, that may not have had all clients ask at
	// once: a request under way takes 132 KiB, and as much until it is collected.
	rssShare   = 0.2
	rssMore    = 16 << 20
	rssRequest = 2 * 132 << 10
	fewRounds  = 10
)

// troupe is clients that come and go on a stage.
type troupe struct {
	*stage
	board   *board
	clients int
	over    atomic.Bool
	started atomic.Int64
	died    atomic.Int64
	rounds  int
	first   usage // after the first round; the memory is the most in the first half
}

// comeAndGo has clients come and go, and looks after each round whether what they held is
// released.
func comeAndGo(ctx context.Context, o options) (found int, err error) {
	dir, err := os.MkdirTemp("", "hbmfs-churn-")
	if err != nil {
		return 0, err
	}
	s := newStage(o, dir, churnPool)
	if err := s.churnFor(ctx, o); err != nil {
		return 0, fmt.Errorf("%w; see %s", err, dir)
	}
	s.reportFaults()
	return len(s.faults), errors.Join(context.Cause(ctx), s.leave())
}

func (s *stage) churnFor(ctx context.Context, o options) error {
	b, err := s.makeDirs()
	if err != nil {
		return err
	}
	defer s.tearDown()
	w := &writer{board: b, dir: s.src}
	if err := errors.Join(w.create(), s.startTarget()); err != nil {
		return err
	}
	if err := s.startMount(); err != nil {
		return err
	}
	if s.reader, err = copyForAll(s.logs); err != nil {
		return err
	}
	t := &troupe{stage: s, board: b, clients: o.clients, rounds: max(2, int(o.churn/churnRound))}
	for i := range t.rounds {
		t.perform(ctx, o.churn/time.Duration(t.rounds), o.seed+uint64(i))
		if err := t.look(i, w); err != nil || ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// perform has all clients come, and go in the end: half of them are killed.
func (t *troupe) perform(ctx context.Context, length time.Duration, seed uint64) {
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	t.over.Store(false)
	t.board.over.Store(false)
	var all sync.WaitGroup
	all.Go(func() { t.watch(ctx, t.board) })
	all.Go(func() { t.revokeNowAndThen(ctx, length) })
	for slot := range t.clients {
		all.Go(func() { t.keepUp(ctx, slot, seed) })
	}
	<-ctx.Done()
	all.Wait()
}

// revokeNowAndThen takes memory away, but not at the end: both users are to have a region then.
func (t *troupe) revokeNowAndThen(ctx context.Context, length time.Duration) {
	for range 2 {
		if pause(ctx, length/4) {
			t.revoke(t.board)
		}
	}
}

// keepUp has a client in a slot for as long as ctx lasts: each that dies is replaced.
func (t *troupe) keepUp(ctx context.Context, slot int, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, uint64(slot)))
	for ctx.Err() == nil {
		p, err := t.startClient(slot, rnd.Uint64())
		if err != nil {
			t.wrong("%v", err)
			return
		}
		t.started.Add(1)
		life := time.NewTimer(time.Duration(rnd.Int64N(int64(2 * killEvery * time.Duration(t.clients)))))
		select {
		case <-p.Done():
		case <-life.C:
			t.kill(p)
		case <-ctx.Done():
			t.dismiss(p, slot)
		}
		life.Stop()
		if p.Wait() != nil {
			t.died.Add(1)
		}
		t.board.threads[slot].began.Store(0)
	}
}

// dismiss ends a client at the end of a round: every second one is killed.
func (t *troupe) dismiss(p *process.Process, slot int) {
	if slot%2 == 0 {
		t.kill(p)
		return
	}
	t.board.over.Store(true)
	select {
	case <-p.Done():
	case <-time.After(hangLimit):
		s := &t.board.threads[slot]
		t.wrong("client %d does not end: it is in %v of file %d", p.PID(), operation(s.what.Load()), s.file.Load())
		t.kill(p)
	}
}

// kill kills a client, and waits for its end. On a machine with too much to do, it may be
// long until this process learns of that, so the kernel is asked.
func (t *troupe) kill(p *process.Process) {
	p.Signal(unix.SIGKILL)
	for began, told := time.Now(), false; ; {
		select {
		case <-p.Done():
			return
		case <-time.After(endLimit):
		}
		if !told && isAlive(p.PID()) {
			told = true
			t.wrong("client %d lives on %v after it was killed", p.PID(), time.Since(began))
		}
	}
}

// isAlive reports whether a process has not ended yet, whoever knows of it.
func isAlive(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err == nil && !bytes.Contains(status, []byte("\nState:\tZ"))
}

// startClient starts one, of either user; what it prints is wrong.
func (t *troupe) startClient(slot int, seed uint64) (*process.Process, error) {
	cmd := t.command(clientCommand, slot, seed)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	if slot/2%2 == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: otherUser, Gid: otherUser}
	}
	return process.Start(cmd)
}

// look waits until all that clients held is released, and tells what is there then.
func (t *troupe) look(round int, w *writer) error {
	did := t.did()
	if err := w.touchAll(); err != nil {
		return err
	}
	t.awaitNone("files are open at the target, though it was told of a change of each", func() int {
		return openBelow(t.target.PID(), t.src)
	})
	is := usage{footprintOf(t.mount.PID()), footprintOf(t.target.PID())}
	if round == 0 {
		t.first = is
	}
	if round < t.rounds/2 {
		t.first.mount.rss = max(t.first.mount.rss, is.mount.rss)
		t.first.target.rss = max(t.first.target.rss, is.target.rss)
		t.first.mount.threads = max(t.first.mount.threads, is.mount.threads)
		t.first.target.threads = max(t.first.target.threads, is.target.threads)
	}
	t.compare("the mount", is.mount, t.first.mount)
	t.compare("the target", is.target, t.first.target)
	var done [operations]uint64
	var full, failed, ringed, placed uint64
	for i := range t.board.threads {
		s := &t.board.threads[i]
		for op := range done {
			done[op] += s.done[op].Load()
		}
		full += s.full.Load()
		failed += s.errors.Load()
		ringed += s.ringed.Load()
		placed += s.placed.Load()
	}
	fmt.Printf("churn %d: %d clients came and %d died; %d opens, %d FETCHes (%d found all held), %d RELEASEs, %d operations of rings, %d ranges into buffers, %d revocations, %d other errors; checked %v\n",
		round+1, t.started.Load(), t.died.Load(), done[opOpen], done[opFetch], full, done[opRelease], ringed, placed,
		t.board.revoked[0].Load(), failed, amountOf(t.board))
	fmt.Printf("  the mount: %s\n", did)
	fmt.Printf("  left: no lease, ring or buffer, no file at the target; mount %v; target %v\n", is.mount, is.target)
	return nil
}

// compare finds what has grown since the first round.
func (t *troupe) compare(who string, is, first footprint) {
	if is.files != first.files {
		t.wrong("%s has %d descriptors that are no sockets, and had %d", who, is.files, first.files)
	}
	if most := first.sockets + moreSockets; is.sockets > most {
		t.wrong("%s has %d sockets, and had %d", who, is.sockets, first.sockets)
	}
	if most := first.threads + moreThreads; is.threads > most {
		t.wrong("%s has %d threads, and had %d", who, is.threads, first.threads)
	}
	more := float64(rssMore)
	if t.rounds < fewRounds {
		more = float64(t.clients) * rssRequest
	}
	if float64(is.rss) > (1+rssShare)*float64(first.rss)+more {
		t.wrong("%s has %d MiB resident, and had %d", who, is.rss>>20, first.rss>>20)
	}
}

const (
	// moreSockets is how many connections a mount makes when it needs them.
	moreSockets = 8
	// moreThreads is how many more Go's runtime may have had at once, and kept.
	moreThreads = 32
)

// touchAll changes every file, so that nobody has one open any more that is not stale.
func (w *writer) touchAll() error {
	for i := range files {
		if err := w.overwrite(filepath.Join(w.dir, fileName(i)), content(i, 1)); err != nil {
			return err
		}
	}
	return nil
}

// awaitNone waits until there are none, for as long as a release may take.
func (t *troupe) awaitNone(what string, count func() int) {
	for began := time.Now(); count() > 0; time.Sleep(poll) {
		if time.Since(began) > releaseLimit {
			t.wrong("%d %s", count(), what)
			return
		}
	}
}
