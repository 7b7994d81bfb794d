package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// options are the command line.
type options struct {
	json, svg, only, dir string
	size                 byteSize
	rounds               int
	quick                bool
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == noopCommand {
		os.Exit(report(serveNoop(os.Args[2])))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(report(run(ctx, parseFlags(os.Args[1:]))))
}

// errBelow says that rows were measured and missed their bounds.
var errBelow = errors.New("below the bound")

// errFailed says that rows could not be measured for another reason than a peer
// that is not installed.
var errFailed = errors.New("failed")

func report(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "peers:", err)
	return 1
}

func parseFlags(args []string) options {
	o := options{size: 2 << 30}
	fs := flag.NewFlagSet("peers", flag.ExitOnError)
	fs.StringVar(&o.json, "json", "", "write the results as JSON to this `FILE`")
	fs.StringVar(&o.svg, "svg", "", "write the plot of throughput against request size to this `FILE`")
	fs.StringVar(&o.only, "only", "", "measure this `ROW` only: "+rowIDs())
	fs.StringVar(&o.dir, "dir", os.TempDir(), "scratch `DIR`: the file is written there, and removed")
	fs.Var(&o.size, "size", "`SIZE` of the file, such as 2GiB; at least 256MiB")
	fs.IntVar(&o.rounds, "rounds", 5, "measure each side this often, in turn")
	fs.BoolVar(&o.quick, "quick", false, "a 512 MiB file and 3 rounds, unless given: to try the bench, not to report")
	_ = fs.Parse(args) // ExitOnError
	o.settle(fs)
	return o
}

// settle applies --quick and refuses what can't be measured.
func (o *options) settle(fs *flag.FlagSet) {
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if o.quick && !given["size"] {
		o.size = 512 << 20
	}
	if o.quick && !given["rounds"] {
		o.rounds = 3
	}
	if o.rounds < 1 || o.size < 256<<20 || !knownRow(o.only) || fs.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "peers: --rounds is at least 1, --size at least 256MiB, --only one of", rowIDs())
		os.Exit(2)
	}
}

// run measures what was asked for, writes it, and takes everything down.
func run(ctx context.Context, o options) (err error) {
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.undo.run()) }()
	rep := b.measureAll(ctx)
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
	if err := rep.write(os.Stdout, o); err != nil {
		return err
	}
	return rep.verdict()
}
