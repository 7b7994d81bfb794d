package main

import (
	"context"
	"encoding/json"
	"fmt"
)

// startIperf runs an iperf3 server and returns its port.
func (s *stage) startIperf(ctx context.Context) (string, error) {
	port, err := freePort()
	if err != nil {
		return "", err
	}
	p, err := s.start("iperf3", "--server", "--bind", "127.0.0.1", "--port", port, "--forceflush")
	if err != nil {
		return "", err
	}
	_, err = p.AwaitLine(ctx, "Server listening")
	return port, err
}

// iperf measures four streams that move as many bytes as the file has, in bytes
// a second.
func (s *stage) iperf(port string) measure {
	return func(ctx context.Context) (float64, error) {
		out, _, err := timed(ctx, "iperf3", "--client", "127.0.0.1", "--port", port,
			"--parallel", "4", "--bytes", fmt.Sprint(s.size), "--json")
		if err != nil {
			return 0, err
		}
		return iperfRate(out)
	}
}

// iperfRate reads the received bytes a second out of iperf3's report.
func iperfRate(report []byte) (float64, error) {
	var r struct {
		End struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal(report, &r); err != nil {
		return 0, fmt.Errorf("iperf3's report: %w", err)
	}
	if r.End.Received.Rate <= 0 {
		return 0, fmt.Errorf("iperf3's report has no end.sum_received.bits_per_second")
	}
	return r.End.Received.Rate / 8, nil
}
