package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"hbmfs/integration/relay"
)

const (
	// hangLimit is longer than any call may take: the time-out of a target that
	// is away, and patience with a busy machine.
	hangLimit = 30 * time.Second
	// poll is how often the readers' calls are looked at.
	poll = 100 * time.Millisecond
)

// round makes a stage, lets readers, writers and faults loose on it, and tells
// what they found. The error is of the driver's own.
func round(ctx context.Context, o options, number int) (found int, checked amount, err error) {
	dir, err := os.MkdirTemp("", "hbmfs-chaos-")
	if err != nil {
		return 0, checked, err
	}
	s := newStage(o, dir, "12MiB")
	s.setting = settingOf(number)
	p, err := s.perform(ctx, o.length, o.seed+uint64(number))
	if err != nil {
		return 0, checked, fmt.Errorf("%w; see %s", err, dir)
	}
	if p.fetched() == 0 && ctx.Err() == nil {
		s.wrong("no FETCH succeeded in the whole round")
	}
	s.report(number, p)
	return len(s.faults), amountOf(p.board), errors.Join(context.Cause(ctx), s.leave())
}

func newStage(o options, dir, pool string) *stage {
	return &stage{
		hbmfs: o.hbmfs, src: filepath.Join(dir, "src"), mnt: filepath.Join(dir, "mnt"),
		logs: dir, listen: "127.0.0.1:0", pool: pool,
	}
}

// leave removes the scratch directory, unless there is something to find in it.
func (s *stage) leave() error {
	if len(s.faults) == 0 {
		return os.RemoveAll(s.logs)
	}
	fmt.Printf("  logs are in %s\n", s.logs)
	return nil
}

// performance is what was done on a stage.
type performance struct {
	board   *board
	writer  *writer
	strikes map[string]int // how often each fault struck
	did     string         // by the mount that was there at the end
}

// fetched is how many FETCHes succeeded.
func (p *performance) fetched() (n uint64) {
	for i := range p.board.threads {
		n += p.board.threads[i].fetched.Load()
	}
	return n
}

// perform sets up, plays, and takes down whatever came up.
func (s *stage) perform(ctx context.Context, length time.Duration, seed uint64) (*performance, error) {
	b, err := s.makeDirs()
	if err != nil {
		return nil, err
	}
	defer s.tearDown()
	if err := s.setUp(); err != nil {
		return nil, err
	}
	if s.setting.vouched {
		b.belief.Store(int64(belief))
	}
	w := &writer{board: b, dir: s.src, rand: rand.New(rand.NewPCG(seed, 1))}
	if err := w.create(); err != nil {
		return nil, err
	}
	defer s.endReaders(b)
	if err := s.startReaders(seed); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	p := &performance{board: b, writer: w, strikes: s.play(ctx, b, w, rand.New(rand.NewPCG(seed, 2)))}
	s.endReaders(b)
	p.did = s.did()
	return p, nil
}

func (s *stage) boardName() string { return filepath.Join(s.logs, "board") }

// makeDirs makes what every user may read, and a board.
func (s *stage) makeDirs() (*board, error) {
	for _, d := range []string{s.src, s.mnt} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(s.logs, 0o755); err != nil {
		return nil, err
	}
	return newBoard(s.boardName())
}

// setUp starts a target, a network and a mount. After an error, some of them may
// be up.
func (s *stage) setUp() (err error) {
	if err := s.startTarget(); err != nil {
		return err
	}
	if s.relay, err = relay.Start(s.listen); err != nil {
		return err
	}
	return s.startMount()
}

// play writes and strikes until ctx ends. It returns how often each fault struck.
func (s *stage) play(ctx context.Context, b *board, w *writer, r *rand.Rand) map[string]int {
	strikes := make(map[string]int)
	var all sync.WaitGroup
	all.Go(func() {
		for pause(ctx, time.Duration(r.Int64N(int64(20*time.Millisecond)))) {
			if err := w.write(); err != nil {
				s.wrong("writer: %v", err)
			}
		}
	})
	all.Go(func() { s.watch(ctx, b) })
	faulty := rand.New(rand.NewPCG(r.Uint64(), 3))
	between := 2 * time.Second
	if s.setting.calm {
		between = 20 * time.Second
	}
	for pause(ctx, time.Duration(faulty.Int64N(int64(between)))) {
		f, d := pick(faulty)
		strikes[f.name]++
		began := now()
		if err := f.strike(s, b, d); err != nil {
			s.wrong("after %q: %v", f.name, err)
			break
		}
		s.struck = append(s.struck, fmt.Sprintf("%.3f to %.3f %s", began.Seconds(), now().Seconds(), f.name))
	}
	all.Wait()
	return strikes
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// watch finds calls that do not come back.
func (s *stage) watch(ctx context.Context, b *board) {
	told := make(map[int]int64)
	for pause(ctx, poll) {
		for i := range b.threads {
			t := &b.threads[i]
			began := t.began.Load()
			if began == 0 || now()-time.Duration(began) < hangLimit || told[i] == began {
				continue
			}
			told[i] = began
			s.wrong("thread %d hangs in %v of file %d", i, operation(t.what.Load()), t.file.Load())
		}
	}
}
