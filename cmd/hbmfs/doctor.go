package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"hbmfs/cache/device"
	"hbmfs/cmd/hbmfs/internal/supervise"
	"hbmfs/fs/fuseprobe"
	"hbmfs/remote/server/store/dir"
	"hbmfs/transport"
	"hbmfs/transport/devmemtcp"
	"hbmfs/transport/inproc"
	"hbmfs/transport/probe"
	"hbmfs/transport/rdma"
	"hbmfs/transport/tcp"
)

const doctorHelp = `Tell which devices and transports this host can use, and what else a mount or a
target needs. Each probe does what it asks about. For what can't be used: why,
and the remedy. What could not be tried has a question mark. Exit code 1 if a
mount can't work here at all.`

// kinds is in which order findings are told.
var kinds = []string{"device", "transport", "mount", "target", "host", "rdma", "nic"}

func newDoctorCommand() *cobra.Command {
	var asJSON, restore bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Tell which devices and transports this host can use",
		Long:  doctorHelp,
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return supervise.Run(cmd.Context(), supervise.NoLimit, func(context.Context) error {
				if restore {
					return restoreNICs(cmd.OutOrStdout())
				}
				return runDoctor(probeAll(), asJSON, cmd.OutOrStdout())
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON array of findings")
	cmd.Flags().BoolVar(&restore, "restore", false, "put back what mounts that were killed left changed on NICs, and do nothing else")
	return cmd
}

// probeAll has all rooms tell what they find.
func probeAll() []probe.Finding {
	var mem transport.Memory // to try transports with; nil where there is none, which its row tells
	if region, err := device.ProbeMemory(); err == nil {
		defer region.Close()
		mem = region
	}
	all := slices.Concat(device.Probe(), []probe.Finding{inproc.Probe(), tcp.Probe()}, rdma.Probe(mem), devmemtcp.Probe(mem),
		fuseprobe.Probe(), dir.Probe(), []probe.Finding{probe.Kernel()})
	slices.SortStableFunc(all, func(a, b probe.Finding) int {
		return slices.Index(kinds, a.Kind) - slices.Index(kinds, b.Kind)
	})
	return all
}

func runDoctor(findings []probe.Finding, asJSON bool, out io.Writer) error {
	var missing []string
	for _, f := range findings {
		if f.Needed && !f.Usable && !f.Untried {
			missing = append(missing, f.Kind+" "+f.Name)
		}
	}
	if err := printFindings(findings, asJSON, out); err != nil {
		return err
	}
	if len(missing) > 0 {
		return fmt.Errorf("no mount works here without: %s", strings.Join(missing, ", "))
	}
	return nil
}

func stateOf(f probe.Finding) string {
	switch {
	case f.Usable:
		return "yes"
	case f.Untried:
		return "?"
	}
	return "no"
}

func printFindings(findings []probe.Finding, asJSON bool, out io.Writer) error {
	if asJSON {
		return writeJSON(out, findings, "  ")
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", f.Kind, shown(f.Name), stateOf(f), shownText(f.Detail))
		if f.Remedy != "" {
			fmt.Fprintf(w, "\t\t\tremedy: %s\n", shownText(f.Remedy))
		}
	}
	return w.Flush()
}

// restoreNICs puts back what killed mounts left changed.
func restoreNICs(out io.Writer) error {
	names, busy, err := devmemtcp.Restore("")
	for _, name := range names {
		fmt.Fprintf(out, "%s: put back as it was before a mount that is gone changed it\n", shown(name))
	}
	for _, who := range busy {
		fmt.Fprintln(out, shownText(who)+"; left as it is")
	}
	if len(names)+len(busy) == 0 && err == nil {
		fmt.Fprintln(out, "nothing to put back")
	}
	return err
}
