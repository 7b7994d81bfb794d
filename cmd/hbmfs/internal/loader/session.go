package loader

import (
	"context"
	"fmt"
	"io"

	"hbmfs/fs/client"
)

// Session is epochs that several ways play in turn, each on a mount that has the
// same data set.
type Session struct {
	Config
	Epochs int

	vias   []Via
	played [][]Epoch // by way
}

// Counter asks a mount how many bytes its transports have brought so far.
type Counter func(*client.Mount) (int64, error)

// Open opens the mount at each way's place, and finds the data set for w there, of
// which scale is as for [Find]. It is closed by [Session.Close].
func Open(ctx context.Context, w Workload, scale float64, ways []Way, places []string, count Counter) (*Session, error) {
	s := &Session{played: make([][]Epoch, len(ways))}
	for i, way := range ways {
		if err := s.open(ctx, w, scale, way, places[i], count); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

func (s *Session) open(ctx context.Context, w Workload, scale float64, way Way, place string, count Counter) error {
	m, err := client.OpenMount(place)
	if err != nil {
		return err
	}
	via := Via{Way: way, Mount: m, Brought: func() (int64, error) { return count(m) }}
	s.vias = append(s.vias, via)
	if s.Set, err = Find(ctx, place, w, scale); err != nil {
		return err
	}
	via.Dir = s.Set.Dir
	via.Info, err = m.Info()
	s.vias[len(s.vias)-1] = via
	return err
}

// Close closes the mounts.
func (s *Session) Close() {
	for _, v := range s.vias {
		_ = v.Mount.Close() // what it fails to unmap goes with the process
	}
}

// Run plays all epochs, and gives each to done. begin says what is told of how far
// an epoch is: bytes as they are taken, and its end.
func (s *Session) Run(ctx context.Context, begin func(way string, epoch int) (taken func(int64), end func()), done func(Epoch) error) error {
	for epoch := 1; epoch <= s.Epochs; epoch++ {
		for i, via := range s.vias {
			taken, end := begin(via.Way.Name, epoch)
			c := s.Config
			c.Taken = taken
			e, err := Play(ctx, c, via, epoch)
			end()
			if err != nil {
				return fmt.Errorf("via %s, epoch %d: %w", via.Way.Name, epoch, err)
			}
			s.played[i] = append(s.played[i], e)
			if err := done(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// Summary is what was played, and what came of it.
type Summary struct {
	Workload string  `json:"workload"`
	Files    int     `json:"files"`
	Found    int     `json:"files_found"` // of which these were taken
	Samples  int     `json:"samples"`
	Bytes    int64   `json:"bytes"` // of the files
	Batch    int     `json:"batch"`
	Compute  float64 `json:"compute_seconds"` // a batch
	Workers  int     `json:"workers"`
	Epochs   int     `json:"epochs"`
	Seed     uint64  `json:"seed"`
	Checked  bool    `json:"checked"`
	Summary  []Epoch `json:"summary"` // of all epochs, a way each
}

// Summary is of what was played so far.
func (s *Session) Summary() Summary {
	w := s.Set.Workload
	sum := Summary{
		Workload: w.Name, Files: len(s.Set.Files), Found: s.Set.Found, Samples: s.Set.Samples(), Bytes: s.Set.Bytes(), Batch: w.Batch,
		Compute: w.Compute.Seconds(), Workers: s.Workers, Epochs: s.Epochs, Seed: s.Seed, Checked: s.Set.Tagged,
	}
	for _, epochs := range s.played {
		if len(epochs) > 0 {
			sum.Summary = append(sum.Summary, All(epochs))
		}
	}
	return sum
}

// String is one line about what is played.
func (s Summary) String() string {
	checked := "checked"
	if !s.Checked {
		checked = "not made by --make, so not checked"
	}
	compute := ""
	if s.Compute > 0 {
		compute = fmt.Sprintf(" (%.4g ms each)", s.Compute*1000)
	}
	return fmt.Sprintf("%s: %d samples in %d of %d files, of %s in all; batches of %d%s, %d workers, seed %d; %s",
		s.Workload, s.Samples, s.Files, s.Found, Amount(s.Bytes), s.Batch, compute, s.Workers, s.Seed, checked)
}

// Plot writes what was played as SVG.
func (s *Session) Plot(w io.Writer) error {
	sum := s.Summary()
	note := fmt.Sprintf("%d samples in %d files, batches of %d, %d workers, seed %d", sum.Samples, sum.Files, sum.Batch, sum.Workers, sum.Seed)
	return writePlot(w, "Epochs of a data loader: "+sum.Workload, note, s.played)
}
