package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"hbmfs/cmd/hbmfs/internal/loader"
	"hbmfs/cmd/hbmfs/internal/progress"
	"hbmfs/cmd/hbmfs/internal/supervise"
)

// servedEnv tells the child of bench loader where the data set is mounted, a place
// for each way.
const servedEnv = "HBMFS_BENCH_SERVED"

// servedPlaces are the mounts that the parent of this process has made, if it has.
func servedPlaces() []string {
	places := filepath.SplitList(os.Getenv(servedEnv))
	os.Unsetenv(servedEnv)
	return places
}

// serveAndPlay makes the data set, mounts it once for each way, has play use the
// mounts, and unmounts them.
func (o *benchOptions) serveAndPlay(ctx context.Context, stderr io.Writer, play func(context.Context, []string) error) (err error) {
	runtime.LockOSThread() // the mounts end with the thread that starts them
	defer runtime.UnlockOSThread()
	ctx, stop := untilSignal(ctx)
	defer stop()
	if err := o.makeSet(ctx, stderr); err != nil {
		return err
	}
	dir, err := filepath.Abs(o.makeIn)
	if err != nil {
		return err
	}
	served, err := loader.ServeEach(ctx, dir, loader.WayNames(o.ways()), "--pool", o.pool.String())
	defer func() { err = errors.Join(err, served.Close()) }()
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	places := served.Places()
	os.Setenv(servedEnv, strings.Join(places, string(filepath.ListSeparator)))
	defer os.Unsetenv(servedEnv)
	return supervise.Run(ctx, supervise.NoLimit, func(ctx context.Context) error { return play(ctx, places) })
}

// setDir is where --make makes the data set.
func (o *benchOptions) setDir() string { return filepath.Join(o.makeIn, o.workload) }

func (o *benchOptions) makeSet(ctx context.Context, stderr io.Writer) error {
	var bar progress.Bar
	defer func() { bar.Finish() }()
	_, err := loader.Make(ctx, o.makeIn, o.shape().Scaled(o.scale), loader.Making{
		Started: func(files int, size int64) {
			if files > 0 {
				fmt.Fprintf(stderr, "hbmfs: making %d files of %s, %s in all, in %s\n", files, o.workload, loader.Amount(size), shown(o.setDir()))
			}
			bar = progress.New(os.Stderr, "making "+o.workload, size)
		},
		Wrote: func(n int64) { bar.Add(n) },
	})
	if errors.Is(err, loader.ErrNoRoom) {
		err = fmt.Errorf("%w; give a smaller --scale, or another directory", err)
	}
	return err
}

// untilSignal returns a context that a signal to end ends: its cause is then the
// command's error.
func untilSignal(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, supervise.EndSignals()...)
	go func() {
		select {
		case s := <-signals:
			number, _ := s.(syscall.Signal)
			cancel(supervise.EndedError{Code: 128 + int(number)})
		case <-ctx.Done():
		}
	}()
	return ctx, func() { signal.Stop(signals); cancel(nil) }
}
