package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
)

// readerCommand makes the driver be a reader.
const readerCommand = "reader"

// readMount reads files of a mount in threads until the board says that it is
// over. Each line that it prints is something that must not be.
func readMount(args []string) error {
	if len(args) != 4 {
		return errors.New("usage: reader BOARD MOUNT FIRST SEED")
	}
	b, err := mapBoard(args[0])
	if err != nil {
		return err
	}
	first, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	seed, err := strconv.ParseUint(args[3], 10, 64)
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	for i := range threads {
		t := &thread{
			board: b, state: &b.threads[first+i], dir: args[1],
			rand: rand.New(rand.NewPCG(seed, uint64(first+i))),
		}
		all.Go([threads]func(){t.run, t.load, t.run, t.load, t.loadByRing, t.loadInto}[i])
	}
	all.Wait()
	return nil
}

// thread opens one file after another, by both ways, or as a loader does.
type thread struct {
	board *board
	state *threadState
	dir   string
	rand  *rand.Rand

	mortal bool // it may end itself in the midst of anything

	opening // the file that is open
	mount   *client.Mount
	file    *client.File
	plain   *os.File
	held    []heldRange
	space   *space // nil: none
}

func (t *thread) run() {
	for !t.board.over.Load() {
		t.number = t.rand.IntN(rootFiles)
		if t.rand.IntN(4) == 0 {
			t.number = rootFiles + t.rand.IntN(setFiles)
		}
		if err := t.open(); err != nil {
			t.failed(err)
			time.Sleep(10 * time.Millisecond) // the mount may be gone
		} else {
			t.use()
		}
		t.close()
	}
}

// use works with an open file until it is stale, or for a while.
func (t *thread) use() {
	for range t.rand.IntN(40) {
		if t.board.over.Load() {
			return
		}
		var err error
		switch t.rand.IntN(8) {
		case 0, 1, 2, 3:
			off, n := t.span()
			err = t.fetch(off, n)
		case 4, 5, 6:
			err = t.read()
		default:
			err = t.stat()
		}
		if err == nil {
			continue
		}
		t.failed(err)
		if !errors.Is(err, unix.ENOSPC) {
			return
		}
		t.releaseOne()
	}
}

// wrong tells of what must not be.
func (t *thread) wrong(what operation, err error) {
	fmt.Printf("%.3f uid %d, file %d, %v: %v\n", now().Seconds(), os.Getuid(), t.number, what, err)
}

// known are what a call may fail with while mounts and targets come and go.
var known = []error{
	unix.ESTALE, unix.EIO, unix.ENOSPC, unix.ENOTCONN, unix.ECONNABORTED, unix.EINTR, unix.ENOENT,
	client.ErrNotHBMFS, unix.ECONNREFUSED, unix.ECONNRESET, unix.EPIPE, unix.ENODEV, client.ErrProtocol,
	unix.ENFILE, // a target of few descriptors
}

func (t *thread) failed(err error) {
	if errors.Is(err, unix.ESTALE) {
		t.state.stale.Add(1)
		return
	}
	t.state.errors.Add(1)
	if !slices.ContainsFunc(known, func(k error) bool { return errors.Is(err, k) }) {
		t.wrong(operation(t.state.what.Load()), fmt.Errorf("fails with what nothing explains: %w", err))
	}
}

func (t *thread) open() (err error) {
	defer t.state.begin(opOpen, t.number)()
	name := filepath.Join(t.dir, fileName(t.number))
	if t.mount, err = client.OpenMount(name); err != nil {
		return err
	}
	oldest := t.nameMayBeOf()
	if t.file, err = t.mount.Open(name); err != nil {
		return err
	}
	if t.plain, err = os.Open(name); err != nil {
		return err
	}
	t.opened = window{oldest, t.newest()}
	return nil
}

// nameMayBeOf is the oldest version that the name of a file that is replaced may lead to.
func (t *thread) nameMayBeOf() uint64 {
	file := &t.board.files[t.number]
	if belief := time.Duration(t.board.belief.Load()); belief > 0 {
		return file.completeBy(now() - belief)
	}
	return file.complete()
}

// newest is the newest version that anybody can see.
func (t *thread) newest() uint64 { return (t.board.files[t.number].writes.Load() + 1) / 2 }

func (t *thread) close() {
	t.closeFile()
	if t.mount != nil {
		t.mount.Close()
	}
	t.mount = nil
}

func (t *thread) closeFile() {
	for len(t.held) > 0 {
		t.releaseOne()
	}
	if t.plain != nil {
		t.plain.Close()
	}
	if t.file != nil {
		t.file.Close()
	}
	t.plain, t.file, t.of = nil, nil, 0
}

// span is a part of the file, of any size and at any offset: one in four is a page.
func (t *thread) span() (off, n int64) {
	size := sizeOf(t.number, t.newest())
	off, n = t.rand.Int64N(size), 4<<10
	if t.rand.IntN(4) > 0 {
		n = 1 + t.rand.Int64N(300<<10)
	}
	return off, min(n, size-off)
}

func (t *thread) read() error {
	off, n := t.span()
	b := make([]byte, n)
	began := now()
	defer t.state.begin(opRead, t.number)()
	file := &t.board.files[t.number]
	writes := [2]uint64{file.writes.Load()}
	got, err := t.plain.ReadAt(b, off)
	if err != nil && got == 0 && err.Error() != "EOF" {
		return err
	}
	writes[1] = file.writes.Load()
	quiet := writes[0] == writes[1] && writes[0]%2 == 0 || replaced(t.number)
	v, err := read(b[:got], t.number, off, !quiet)
	if err == nil {
		err = t.during(writes).judge(v, t.board.leasesGone(began), !quiet)
	}
	if err != nil {
		t.wrong(opRead, fmt.Errorf("%d bytes at %d: %w", n, off, err))
	}
	t.state.plain.Add(uint64(wordsIn(off, int64(got))))
	return nil
}

func (t *thread) stat() error {
	defer t.state.begin(opStat, t.number)()
	info, err := t.plain.Stat()
	if err == nil && replaced(t.number) && !isSmall(t.number) && info.Size() != sizeOf(t.number, 1) {
		t.wrong(opStat, fmt.Errorf("%d bytes, not %d", info.Size(), sizeOf(t.number, 1)))
	}
	return err
}
