package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"hbmfs/cmd/hbmfs/internal/loader"
	"hbmfs/cmd/hbmfs/internal/newfile"
	"hbmfs/cmd/hbmfs/internal/progress"
	"hbmfs/fs/client"
)

// play plays all epochs, each way on the mount at its place, and prints what came
// of them.
func (o *benchOptions) play(ctx context.Context, places []string, stdout, stderr io.Writer) error {
	if err := checkPlaces(places); err != nil {
		return err
	}
	plot, err := newfile.New(o.svg)
	if err != nil {
		return fmt.Errorf("--svg: %w", err)
	}
	s, err := loader.Open(ctx, o.shape(), o.scale, o.ways(), places, brought)
	if errors.Is(err, loader.ErrNoSet) {
		err = fmt.Errorf("%w; 'hbmfs bench loader --make DIR --workload %s' makes one", err, o.workload)
	}
	if err != nil {
		return err
	}
	defer s.Close()
	s.Workers, s.Epochs, s.Seed = o.workers, o.epochs, o.seed
	if o.makeIn != "" {
		s.Source = o.setDir() // its mount will be gone
	}
	if !o.json {
		fmt.Fprintf(stdout, "%s\n%s\n", s.Summary(), loader.RowHeader)
	}
	begin := func(way string, epoch int) (func(int64), func()) {
		bar := progress.New(os.Stderr, fmt.Sprintf("%s %d", way, epoch), s.Set.SampleBytes())
		return bar.Add, bar.Finish
	}
	if err := s.Run(ctx, begin, func(e loader.Epoch) error { return o.print(stdout, e) }); err != nil {
		return err
	}
	if err := o.printSummary(stdout, stderr, s.Summary()); err != nil {
		return err
	}
	if err := plot.Write(s.Plot); err != nil {
		return fmt.Errorf("--svg: %w", err)
	}
	return nil
}

// checkPlaces refuses places where no answer can come, or nothing can lie below.
func checkPlaces(places []string) error {
	for _, place := range places {
		if err := checkAnswers(place); err != nil {
			return err
		}
		if info, err := os.Stat(place); err == nil && !info.IsDir() {
			return usagef("%s is no directory; give a mount, or a directory of one", shown(place))
		}
	}
	return nil
}

// brought is how many bytes a mount's transports have brought.
func brought(m *client.Mount) (n int64, err error) {
	raw, err := m.Stats()
	if err != nil {
		return 0, err
	}
	s, err := parseStats(raw)
	for _, b := range s.Target.Bytes {
		n += b
	}
	return n, err
}

func (o *benchOptions) print(out io.Writer, e loader.Epoch) error {
	if o.json {
		return writeJSON(out, e, "")
	}
	_, err := fmt.Fprintln(out, e.Row())
	return err
}

func (o *benchOptions) printSummary(stdout, stderr io.Writer, s loader.Summary) error {
	for _, e := range s.Summary {
		if e.Unsettled > 0 {
			fmt.Fprintf(stderr, "hbmfs: %d FETCHes were of files that may change, and nothing of them stays in device memory\n", e.Unsettled)
		}
	}
	if o.json {
		return writeJSON(stdout, s, "")
	}
	for _, e := range s.Summary {
		if err := o.print(stdout, e); err != nil {
			return err
		}
		if e.Path != "" {
			fmt.Fprintf(stdout, "%s: the least direct path was %s (%s)\n", e.Via, e.Path, shown(e.Reason))
		}
	}
	return nil
}
