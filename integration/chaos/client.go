package main

import (
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// clientCommand makes the driver be a client that comes and goes.
const clientCommand = "client"

// churn opens, fetches, holds, releases and closes until the board says that it is over,
// or it kills itself in the midst of that.
func churn(args []string) error {
	if len(args) != 4 {
		return errors.New("usage: client BOARD MOUNT SLOT SEED")
	}
	b, err := mapBoard(args[0])
	if err != nil {
		return err
	}
	slot, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	seed, err := strconv.ParseUint(args[3], 10, 64)
	if err != nil {
		return err
	}
	t := &thread{board: b, state: &b.threads[slot], dir: args[1], rand: rand.New(rand.NewPCG(seed, uint64(slot))), mortal: true}
	for !b.over.Load() {
		t.number = t.rand.IntN(files)
		switch t.rand.IntN(4) {
		case 0:
			t.ringTurn(t.rand.IntN(8))
		case 1:
			t.intoTurn(t.rand.IntN(8))
		default:
			t.visit()
		}
	}
	t.closeSpace()
	t.close()
	return nil
}

// visit opens a file, and leaves it, and sometimes the mount, or this world.
func (t *thread) visit() {
	err := t.openOne()
	for i := t.rand.IntN(4); err == nil && i >= 0; i-- {
		err = t.hold()
	}
	if err != nil {
		t.failed(err)
	}
	t.mayDie()
	t.closeFile()
	if err != nil || t.rand.IntN(8) == 0 {
		t.closeSpace()
		t.close()
	}
}

// mayDie ends the process, now and then, if it may.
func (t *thread) mayDie() {
	if t.mortal && t.rand.IntN(40) == 0 {
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	}
}

// hold fetches, holds it for a while, and perhaps releases what it held before. Where
// others hold all there is, it gives up what it has.
func (t *thread) hold() error {
	off, n := int64(0), int64(300<<10)
	if t.rand.IntN(2) == 0 {
		off, n = t.span()
	}
	err := t.fetch(off, n)
	if errors.Is(err, unix.ENOSPC) {
		t.state.full.Add(1)
		for len(t.held) > 0 {
			t.releaseOne()
		}
		err = nil
	}
	time.Sleep(time.Duration(t.rand.Int64N(int64(100 * time.Millisecond))))
	if t.rand.IntN(4) == 0 {
		t.releaseOne()
	}
	return err
}
