package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"hbmfs/cmd/hbmfs/internal/loader"
	"hbmfs/cmd/hbmfs/internal/size"
	"hbmfs/cmd/hbmfs/internal/supervise"
)

// benchOptions is the command line of bench loader.
type benchOptions struct {
	makeIn          string
	workload, via   string
	workers, epochs int
	batch           int
	sample, pool    size.Bytes
	seed            uint64
	scale           float64
	json            bool
	svg             string
}

const benchHelp = `Play the access pattern and the compute time of a training on a mount, and tell
what a data loader gets from it.

Workers prefetch whole batches, in an order that is shuffled anew each epoch: two
each may be ahead of a consumer, which takes them in order and sleeps for as long
as an accelerator would compute. AU is that compute time / the time of the epoch.
The shapes are DLIO's parameters (github.com/mlcommons/storage); the figures are
no results of that benchmark:

%s
The time is compute, for a batch of that many samples; --batch N takes N/batch of it.
A file has one sample, but for resnet50, whose samples follow each other, and
custom, whose samples of --sample bytes lie anywhere in its files of 64 MiB: one for
each 128 KiB at most, at the same places in each epoch. Files with several samples
are opened once an epoch.

For each sample, --via

%s
and closes it. Nobody copies or computes on what came, but for the checks below. A
FETCH releases what the worker held of the same file; else RELEASE or the end of
the open file does. A sample that is larger than a worker's share of half the pool
comes by several FETCHes, and plain reads by 4 MiB. With 'all', the ways take turns
epoch by epoch, in the same order.

--make DIR makes the data set in DIR/WORKLOAD, or completes it, and mounts DIR for
the time of the benchmark, once for each way: their first epochs are cold, but for
the page cache of DIR's own file system. Of a MOUNT, the files below it are taken:
a data set that --make made, or else any, in the order of their names: all, unless
--scale says less. What device memory and page cache have of them is not dropped
before.

A data set of --make is checked: the first and last word of each piece, and all
words of one sample in 16. A wrong word ends the benchmark with exit code 3. Other
files are not checked.

HITS is the part of segments that FETCH found in device memory, AMPL what the
mount's transports brought for each byte of samples, whoever asked for it; plain
reads of what the kernel's page cache has bring nothing. P50 and P99 are the time
of a sample, from open to close.`

func newBenchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure what a mount gives to a data loader",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usagef("say what to measure, such as '%s loader'", cmd.CommandPath())
		},
	}
	cmd.AddCommand(newBenchLoaderCommand())
	return cmd
}

func newBenchLoaderCommand() *cobra.Command {
	o := benchOptions{sample: 128 << 10, pool: defaultMountOptions().pool}
	cmd := &cobra.Command{
		Use:   "loader [MOUNT | --make DIR] --workload NAME [flags]",
		Short: "Play a training's data loader on a mount",
		Long:  fmt.Sprintf(benchHelp, loader.DescribeWorkloads(), loader.DescribeWays()),
		Example: `  hbmfs bench loader --make /var/tmp/set --workload retinanet --via all --svg retinanet.svg
  hbmfs bench loader /mnt/train --workload custom --sample 4KiB --workers 1`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(cmd, args); err != nil {
				return err
			}
			return o.run(cmd.Context(), args, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.makeIn, "make", "", "make the data set in this `directory`, and mount it")
	f.StringVar(&o.workload, "workload", "", "`name`, which must be given: "+strings.Join(loader.WorkloadNames(), ", "))
	f.StringVar(&o.via, "via", "ioctl", "`way` to get samples: "+strings.Join(loader.WayNames(loader.Ways), ", ")+", or all")
	f.IntVar(&o.workers, "workers", 8, "workers that prefetch batches")
	f.IntVar(&o.batch, "batch", 0, "samples a batch, instead of the workload's, with as much compute each")
	f.Var(&o.sample, "sample", "bytes of a sample of custom")
	f.IntVar(&o.epochs, "epochs", 3, "how many")
	f.Uint64Var(&o.seed, "seed", 1, "of the order; the same seed is the same order on any machine")
	f.Float64Var(&o.scale, "scale", 0, "part of the files to take, above 0 and at most 1, but 8 files at least: of the workload's, or of those that MOUNT has (default 0.01 with --make, else 1)")
	f.Var(&o.pool, "pool", "device memory of the mount that --make makes")
	f.BoolVar(&o.json, "json", false, "print one JSON object an epoch, and one for all")
	f.StringVar(&o.svg, "svg", "", "`file` to plot samples a second and AU to")
	return cmd
}

// Bounds of bench loader's flags.
const (
	maxBenchWorkers = 1024
	maxBenchBatch   = 1 << 20
	maxBenchEpochs  = 10_000
)

// makeScale is the part of a workload's files that --make makes unless told.
const makeScale = 0.01

func (o *benchOptions) check(cmd *cobra.Command, args []string) error {
	if !cmd.Flags().Changed("scale") {
		o.scale = 1
		if o.makeIn != "" {
			o.scale = makeScale
		}
	}
	switch {
	case (o.makeIn == "") == (len(args) == 0):
		return usagef("give either a MOUNT or --make DIR; usage: %s", cmd.UseLine())
	case o.workload == "":
		return usagef("--workload is missing: there are %s", strings.Join(loader.WorkloadNames(), ", "))
	case !slices.Contains(loader.WorkloadNames(), o.workload):
		return usagef("--workload %q: there are %s", o.workload, strings.Join(loader.WorkloadNames(), ", "))
	case o.via != "all" && !slices.Contains(loader.WayNames(loader.Ways), o.via):
		return usagef("--via %q: there are %s, and all", o.via, strings.Join(loader.WayNames(loader.Ways), ", "))
	case o.workers < 1 || o.workers > maxBenchWorkers:
		return usagef("--workers %d: give 1 to %d", o.workers, maxBenchWorkers)
	case o.epochs < 1 || o.epochs > maxBenchEpochs:
		return usagef("--epochs %d: give 1 to %d", o.epochs, maxBenchEpochs)
	case cmd.Flags().Changed("batch") && (o.batch < 1 || o.batch > maxBenchBatch):
		return usagef("--batch %d: give 1 to %d", o.batch, maxBenchBatch)
	case !(o.scale > 0 && o.scale <= 1): // nor is it NaN
		return usagef("--scale %v: give a part of all files, above 0 and at most 1", o.scale)
	case cmd.Flags().Changed("sample") && o.workload != "custom":
		return usagef("--sample is for --workload custom: that of %s is given", o.workload)
	case o.sample < 1 || int64(o.sample) > o.shape().Size:
		return usagef("--sample %s: give 1 byte to %d MiB, which the files of custom have", &o.sample, o.shape().Size>>20)
	case cmd.Flags().Changed("pool") && o.makeIn == "":
		return usagef("--pool is of the mount that --make makes")
	case o.pool < defaultMountOptions().extent:
		extent := defaultMountOptions().extent
		return usagef("--pool %s is smaller than an extent of %s", &o.pool, &extent)
	}
	return nil
}

// shape is the workload that was asked for, with all its files.
func (o *benchOptions) shape() loader.Workload {
	at := slices.IndexFunc(loader.Workloads, func(w loader.Workload) bool { return w.Name == o.workload })
	w := loader.Workloads[at]
	if o.batch > 0 {
		w = w.Batched(o.batch)
	}
	if w.Anywhere {
		w.Sample = int64(o.sample)
	}
	return w
}

// ways are those that were asked for.
func (o *benchOptions) ways() []loader.Way {
	return slices.DeleteFunc(slices.Clone(loader.Ways), func(w loader.Way) bool { return o.via != "all" && o.via != w.Name })
}

// run leaves all that touches a mount to a child, as other commands do; the mounts
// that --make makes belong to this process, which stays free to end them.
func (o *benchOptions) run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	play := func(ctx context.Context, places []string) error {
		ctx, stop := untilSignal(ctx)
		defer stop()
		err := o.play(ctx, places, stdout, stderr)
		switch {
		case ctx.Err() != nil && err != nil:
			return context.Cause(ctx)
		case errors.Is(err, loader.ErrWrong):
			return fmt.Errorf("%w: %w", errMismatch, err)
		}
		return explainEIO(err, places[0])
	}
	if o.makeIn == "" {
		places := slices.Repeat(args, len(o.ways()))
		return supervise.Run(ctx, supervise.NoLimit, func(ctx context.Context) error { return play(ctx, places) })
	}
	if places := servedPlaces(); len(places) == len(o.ways()) {
		return play(ctx, places)
	}
	return o.serveAndPlay(ctx, stderr, play)
}
