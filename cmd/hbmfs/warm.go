package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"hbmfs/cmd/hbmfs/internal/onemount"
	"hbmfs/cmd/hbmfs/internal/progress"
	"hbmfs/cmd/hbmfs/internal/size"
	"hbmfs/cmd/hbmfs/internal/supervise"
	"hbmfs/cmd/hbmfs/internal/warm"
	"hbmfs/fs/client"
)

// warmOptions is the command line of warm.
type warmOptions struct {
	order  string
	window size.Bytes
	json   bool
}

const warmHelp = `Bring files of a mount into device memory, before they are asked for: PATHs, and
all regular files below those that are directories, of one mount. They stay until
the pool has to make room, least recently used first; nothing is pinned. What is
larger than the pool is refused. In the pool, what is smaller than an extent may
take up to twice its size; where so much was evicted meanwhile that not all can be
there any more, warm fails and says so.

With --follow-order, PATH is a directory of the mount, and FILE says in which order
what is below it will be read, a range a line:

  path            all of a file
  path off len    a part of it, in bytes

A path is below PATH, and one with blanks or quotes is written as a quoted string,
as in C. Empty lines count, and bring nothing. Ranges are brought in that order,
--window bytes ahead of the reader. How far that is, nobody can see from outside: a
mount's counters don't tell who fetched what. So the reader says it on the standard
input of warm: now and then a line with a number, which is how many lines of FILE it
has read so far. Ranges that it has read are not brought any more. Where its words
end, as on /dev/null, or standard input is a terminal, warm fills the window and
stops; so it does with '-' for FILE, which has the order come on standard input.

  my-loader --print-progress | hbmfs warm --follow-order order.txt --window 2GiB /mnt/train

What lies in the window is not pinned either: others who use the mount can evict it.`

func newWarmCommand() *cobra.Command {
	var o warmOptions
	cmd := &cobra.Command{
		Use:   "warm PATH...",
		Short: "Bring files of a mount into device memory before they are asked for",
		Long:  warmHelp,
		Example: `  hbmfs warm /mnt/train/shard-000 /mnt/train/val
  hbmfs warm --follow-order order.txt --window 2GiB /mnt/train < /dev/null`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(cmd, args); err != nil {
				return err
			}
			return supervise.Run(cmd.Context(), supervise.NoLimit, func(ctx context.Context) error {
				return runWarm(ctx, o, args, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.order, "follow-order", "", "`file` with the order in which ranges will be read, or - for standard input")
	f.Var(&o.window, "window", "bytes to bring before they are read, with --follow-order (default half of the pool)")
	f.BoolVar(&o.json, "json", false, "print one JSON object")
	return cmd
}

func (o *warmOptions) check(cmd *cobra.Command, args []string) error {
	switch changed := cmd.Flags().Changed; {
	case changed("follow-order") && o.order == "":
		return usagef("--follow-order is empty: name a file, or - for standard input")
	case changed("window") && o.order == "":
		return usagef("--window is of --follow-order")
	case changed("window") && o.window == 0:
		return usagef("--window 0: give the bytes to bring ahead, such as 2GiB")
	case o.order != "" && len(args) > 1:
		return usagef("with --follow-order, give one PATH, where its paths begin, and not %d", len(args))
	}
	return nil
}

func runWarm(ctx context.Context, o warmOptions, paths []string, stdin io.Reader, stdout, stderr io.Writer) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	missing := int64(0)
	m, paths, err := onemount.Open(paths, checkAnswers, func(err error) {
		missing++
		complain(stderr, err)
	})
	if err == nil && o.order != "" {
		err = checkIsDir(paths[0])
	}
	if err != nil {
		return severalMounts(err)
	}
	defer m.Close()
	var bar progress.Bar
	defer func() { bar.Finish() }()
	c := warm.Config{
		Mount: m, Counters: func() (warm.Counters, error) { return warmCounters(m) },
		Started: func(size int64) { bar = progress.New(os.Stderr, "warm", size) },
		Came:    func(n int64) { bar.Add(n) },
		Failed:  func(err error) { complain(stderr, err) },
	}
	result, err := o.warm(ctx, c, paths, stdin)
	result.Failed += missing
	if err == nil && (result.Stopped || o.order == "-") {
		awaitSignal(ctx)
	}
	if ctx.Err() != nil && (err != nil || result.Stopped || o.order == "-") {
		return context.Cause(ctx)
	}
	bar.Finish()
	err = errors.Join(explainEIO(err, paths[0]), failedFiles(result))
	if err != nil && result.Segments == 0 && !o.json {
		return err
	}
	return errors.Join(o.print(stdout, result), err)
}

// signalGrace is how long after the end of standard input a signal is still taken
// for what ended both: a terminal's Ctrl-C ends all of a pipeline.
const signalGrace = 200 * time.Millisecond

func awaitSignal(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(signalGrace):
	}
}

func (o *warmOptions) warm(ctx context.Context, c warm.Config, paths []string, stdin io.Reader) (warm.Result, error) {
	if o.order == "" {
		var unlisted atomic.Int64
		files, size, err := warm.Walk(ctx, paths, func(err error) {
			unlisted.Add(1)
			c.Failed(err)
		})
		if err != nil {
			return warm.Result{}, err
		}
		r, err := warm.Files(ctx, c, files, size)
		r.Failed += unlisted.Load()
		return r, err
	}
	order := warm.Order{Lines: stdin, Root: paths[0], Window: int64(o.window)}
	if o.order != "-" {
		f, err := os.Open(o.order)
		if err != nil {
			return warm.Result{}, fmt.Errorf("--follow-order: %w", err)
		}
		defer f.Close()
		order.Lines = f
		if in, ok := stdin.(*os.File); !ok || !term.IsTerminal(int(in.Fd())) {
			order.Read = stdin
		}
	}
	return warm.Follow(ctx, c, order)
}

func warmCounters(m *client.Mount) (warm.Counters, error) {
	raw, err := m.Stats()
	if err != nil {
		return warm.Counters{}, err
	}
	s, err := parseStats(raw)
	return warm.Counters{Resident: s.Cache.Resident.Extents, Evictions: s.Cache.Evictions}, err
}

func (o *warmOptions) print(out io.Writer, r warm.Result) error {
	if o.json {
		return writeJSON(out, r, "")
	}
	_, err := fmt.Fprintln(out, shownText(r.String()))
	return err
}

// checkIsDir refuses what an order's paths can't be below.
func checkIsDir(path string) error {
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return errors.Join(err, usagef("%s is no directory; with --follow-order, give the one that its paths are below", shown(path)))
	}
	return nil
}

// severalMounts has paths of several mounts be a wrong command line.
func severalMounts(err error) error {
	if errors.Is(err, onemount.ErrSeveral) {
		return usagef("%s: name each mount's by themselves", shownText(err.Error()))
	}
	return err
}

func failedFiles(r warm.Result) error {
	if r.Failed == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d files failed", r.Failed, r.Failed+r.Files)
}
