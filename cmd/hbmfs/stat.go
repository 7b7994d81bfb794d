package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"hbmfs/cmd/hbmfs/internal/mounts"
	"hbmfs/cmd/hbmfs/internal/supervise"
	"hbmfs/fs"
	"hbmfs/fs/client"
)

const statHelp = `Tell what a mount is and has done: its transports, and counters of fetches,
hits, bytes per path, leases, regions, connections and errors, from the mount's
start.`

// statLimit is how long stat waits for a mount. A daemon that is alive answers out
// of its own memory.
const statLimit = 12 * time.Second

func newStatCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stat MOUNTPOINT",
		Short: "Tell what a mount is and has done",
		Long:  statHelp,
		Args:  usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return supervise.Run(cmd.Context(), statLimit, func(context.Context) error {
				return runStat(args[0], asJSON, cmd.OutOrStdout())
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func runStat(path string, asJSON bool, out io.Writer) error {
	if err := checkAnswers(path); err != nil {
		return err
	}
	raw, err := rawStats(path)
	if err != nil {
		return err
	}
	if asJSON {
		if err := writeJSON(out, json.RawMessage(raw), "  "); err != nil {
			return fmt.Errorf("stats of %s: %w", path, err)
		}
		return nil
	}
	s, err := parseStats(raw)
	if err != nil {
		return fmt.Errorf("stats of %s: %w", path, err)
	}
	return printStats(out, s)
}

// rawStats asks the mount that path lies in, which need not reach its target.
func rawStats(path string) (raw []byte, err error) {
	m, err := client.OpenMount(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	return m.Stats()
}

func parseStats(raw []byte) (s fs.Stats, err error) {
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("%w; the mount may be of another version of hbmfs", err)
	}
	return s, nil
}

// checkAnswers returns an error if the daemon of the mount that path lies in can't
// answer. It does not touch the mount.
func checkAnswers(path string) error {
	w, err := mounts.Walk(path)
	if err != nil || !w.Ours {
		return err
	}
	daemon := mounts.FindDaemon(w.Mount)
	defer daemon.Close()
	switch daemon.State() {
	case mounts.Stopped:
		return fmt.Errorf("the daemon of %s (pid %d) is stopped; 'kill -CONT %d' lets it go on", w.Place, daemon.PID, daemon.PID)
	case mounts.Dying:
		return fmt.Errorf("the daemon of %s (pid %d) was killed; 'hbmfs umount %s' cleans up", w.Place, daemon.PID, w.Place)
	}
	return nil
}
