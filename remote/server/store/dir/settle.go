package dir

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/remote/wire"
)

const (
	// clockTick is longer than the kernel's time stamps are coarse.
	clockTick = 20 * time.Millisecond
	// coarseTick is the same for file systems that keep whole seconds.
	coarseTick = 2 * time.Second
	// settleRounds bounds how often a file may change its attributes while an
	// open waits for the clock.
	settleRounds = 3
)

// open opens what name, an O_PATH descriptor, is of, keeps writers away if that
// can be done, and returns the attributes of the version that is there then.
func (f *file) open(ctx context.Context, name int, device bool) (*wire.Attr, error) {
	fs, err := fileSystem(name)
	if err != nil {
		return nil, err
	}
	if isKernels(fs) {
		return nil, fmt.Errorf("files that the kernel makes up are not served: %w", unix.EACCES)
	}
	if f.fd, err = openRead(ctx, name); err != nil {
		return nil, err
	}
	if device {
		f.guard = guardReadOnly
		f.counters, err = openCounters(f.fd)
	} else if why := f.files.watch.takeLease(f.fd, fs); why != "" {
		f.unsettle(why)
	}
	if err != nil {
		return nil, err
	}
	return f.settle(ctx)
}

func (f *file) unsettle(why string) {
	f.guard, f.why = guardStat, why
}

// settle waits until a later change can't have the time stamps of this one.
func (f *file) settle(ctx context.Context) (*wire.Attr, error) {
	for range settleRounds {
		attr, err := f.describe()
		if err != nil || !f.settled() {
			return attr, err
		}
		wait, why := untilDistinct(time.Now(), attr)
		switch {
		case why != "":
			dropLease(f.fd)
			f.unsettle(why)
			return attr, nil
		case wait == 0:
			return attr, nil
		case !pause(ctx, wait):
			return nil, ctx.Err()
		}
	}
	dropLease(f.fd)
	f.unsettle("its attributes go on changing")
	return f.describe()
}

// describe returns the attributes, and takes the stamp first: a change between
// the two is found by the first read.
func (f *file) describe() (attr *wire.Attr, err error) {
	if f.stamp, err = f.stampNow(); err != nil {
		return nil, err
	}
	if f.counters >= 0 {
		return statDisk(f.fd, f.counters)
	}
	return statAt(f.fd, "")
}

// untilDistinct says how long to wait until the clock has left the tick of the
// file's last change, or why that can't be waited for.
func untilDistinct(now time.Time, attr *wire.Attr) (time.Duration, string) {
	age := now.Sub(time.Unix(attr.Ctime, int64(attr.CtimeNsec)))
	if m := now.Sub(time.Unix(attr.Mtime, int64(attr.MtimeNsec))); m >= 0 {
		age = min(age, m) // a modification time ahead of the clock was made up
	}
	tick := clockTick
	if attr.CtimeNsec == 0 {
		tick = coarseTick
	}
	switch {
	case age >= tick:
		return 0, ""
	case age < 0:
		return 0, "it changed in the future, by this host's clock"
	case tick == coarseTick:
		return 0, "it changed just now, and its file system keeps whole seconds"
	}
	return tick - age, ""
}
