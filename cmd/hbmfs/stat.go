package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"hbmfs/fs"
	"hbmfs/fs/client"
)

const statHelp = `Tell what a mount is and has done: its transports, and counters of fetches,
hits, bytes per path, leases, regions, connections and errors, from the mount's
start.`

func newStatCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stat MOUNTPOINT",
		Short: "Tell what a mount is and has done",
		Long:  statHelp,
		Args:  usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runStat(args[0], asJSON, cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func runStat(path string, asJSON bool, out io.Writer) (err error) {
	m, err := client.OpenMount(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	raw, err := m.Stats()
	if err != nil {
		return err
	}
	if asJSON {
		var text bytes.Buffer
		if err := json.Indent(&text, raw, "", "  "); err != nil {
			return fmt.Errorf("stats of %s: %w", path, err)
		}
		text.WriteByte('\n')
		_, err = text.WriteTo(out)
		return err
	}
	var s fs.Stats
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("stats of %s: %w; it may be of another version of hbmfs", path, err)
	}
	return printStats(out, s)
}
