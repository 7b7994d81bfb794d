package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"hbmfs/integration/peers/load"
	"hbmfs/integration/peers/noop"
	"hbmfs/integration/peers/past"
	"hbmfs/integration/process"
)

// options are the command line.
type options struct {
	json, svg, before string
	only              map[string]bool // rows; nil: all
	size              int64           // of the file, in bytes
	rounds            int
	quick, strict     bool
}

func main() { process.Main("peers", run) }

// errBelow says, with --strict, that rows were measured and missed their bounds.
var errBelow = errors.New("below the bound")

// errFailed says that rows could not be measured for another reason than a peer
// that is not installed.
var errFailed = errors.New("failed")

func parseFlags(args []string) (options, error) {
	var o options
	fs := flag.NewFlagSet("peers", flag.ExitOnError)
	fs.StringVar(&o.json, "json", "", "write the results as JSON to this `FILE`")
	fs.StringVar(&o.svg, "svg", "", "write the plot of throughput against request size to this `FILE`")
	only := fs.String("only", "", "measure these `ROWS` only, with commas between: "+strings.Join(rowIDs(), ", "))
	fs.StringVar(&o.before, "before", past.Default, "the `COMMIT` of this repository that rows beside "+beforeName+" measure")
	fs.IntVar(&o.rounds, "rounds", 0, "measure each side this often, in turn, instead of 5 times")
	fs.BoolVar(&o.quick, "quick", false, "a 512 MiB file, 2000 small ones and 3 rounds: to try the bench, not to report")
	fs.BoolVar(&o.strict, "strict", false, "fail if a row is below its bound")
	_ = fs.Parse(args) // ExitOnError
	o.size = 2 << 30
	usual := 5
	if o.quick {
		o.size, usual = 512<<20, 3
	}
	o.rounds = cmp.Or(o.rounds, usual)
	if o.rounds < 1 || fs.NArg() > 0 {
		return o, errors.New("--rounds is at least 1, and there are no arguments but flags")
	}
	var err error
	o.only, err = selectRows(*only)
	return o, err
}

// run measures what was asked for, writes it, and takes everything down.
func run(ctx context.Context, args []string) (err error) {
	if len(args) > 1 {
		switch args[0] {
		case noop.Command:
			return noop.Serve(ctx, args[1:])
		case load.Command:
			return load.Run(args[1], os.Stdin, os.Stdout)
		}
	}
	o, err := parseFlags(args)
	if err != nil {
		return err
	}
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
	return rep.verdict(o.strict)
}
