package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

const (
	randomJobs  = 4
	randomBlock = 4 << 10
)

// randomRead reads random 4 KiB blocks by four processes, no block twice, and
// returns reads a second. Each job has a quarter of the file, and reads a 64th
// of its blocks.
func (s *stage) randomRead(ctx context.Context, path string) (float64, error) {
	share := s.size / randomJobs / randomBlock * randomBlock
	out, _, err := timed(ctx, "fio", "--name=random", "--filename="+path, "--readonly", "--rw=randread",
		"--ioengine=psync", "--bs=4k", fmt.Sprintf("--numjobs=%d", randomJobs), "--invalidate=0",
		fmt.Sprintf("--size=%d", share), fmt.Sprintf("--offset_increment=%d", share),
		fmt.Sprintf("--io_size=%d", share/64), "--group_reporting", "--output-format=json")
	if err != nil {
		return 0, err
	}
	return fioRate(out)
}

// fioRate reads the reads a second out of fio's report.
func fioRate(report []byte) (float64, error) {
	var r struct {
		Jobs []struct {
			Read struct {
				IOPS float64 `json:"iops"`
			} `json:"read"`
		} `json:"jobs"`
	}
	if err := json.Unmarshal(report, &r); err != nil {
		return 0, fmt.Errorf("fio's report: %w", err)
	}
	if len(r.Jobs) != 1 || r.Jobs[0].Read.IOPS <= 0 {
		return 0, errors.New("fio's report has no jobs[0].read.iops")
	}
	return r.Jobs[0].Read.IOPS, nil
}
