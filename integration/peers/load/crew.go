package load

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"

	"hbmfs/integration/process"
)

// Crew are workers that begin together.
type Crew struct {
	workers []*process.Process
	gate    *os.File // closed: they begin
}

// Hire starts a worker for each job, and waits until all of them are ready.
func Hire(ctx context.Context, jobs ...Job) (_ *Crew, err error) {
	in, gate, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	c := &Crew{gate: gate}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Dismiss())
		}
	}()
	for _, j := range jobs {
		p, err := startWorker(j, in)
		if err != nil {
			return nil, err
		}
		c.workers = append(c.workers, p)
	}
	for _, p := range c.workers {
		if _, err := p.AwaitLine(ctx, workerReady); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func startWorker(j Job, in *os.File) (*process.Process, error) {
	arg, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := process.Command(self, Command, string(arg))
	cmd.Stdin = in
	return process.Start(cmd)
}

// Work opens the gate, and adds up what all report. They worked side by side: it
// took as long as the slowest.
func (c *Crew) Work(ctx context.Context) (sum Report, err error) {
	if err := c.gate.Close(); err != nil {
		return sum, err
	}
	for _, p := range c.workers {
		r, err := workerResult(ctx, p)
		if err != nil {
			return sum, err
		}
		r.Took, sum.Took = 0, max(sum.Took, r.Took)
		sum.Add(r)
	}
	return sum, nil
}

func workerResult(ctx context.Context, p *process.Process) (Report, error) {
	select {
	case <-p.Done():
	case <-ctx.Done():
		return Report{}, context.Cause(ctx)
	}
	if err := p.Wait(); err != nil {
		return Report{}, err
	}
	_, report, _ := strings.Cut(p.Output(), workerReady+"\n")
	return decodeReport(report)
}

// Dismiss ends those that still run.
func (c *Crew) Dismiss() error {
	var errs []error
	if err := c.gate.Close(); !errors.Is(err, os.ErrClosed) {
		errs = append(errs, err)
	}
	for _, p := range c.workers {
		errs = append(errs, p.Stop())
	}
	return errors.Join(errs...)
}
