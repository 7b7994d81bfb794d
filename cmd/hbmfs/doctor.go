package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

const doctorHelp = `Tell which devices and transports this host can use, and what else a mount or a
target needs. Each probe does what it asks about. For what can't be used: why,
and the remedy. Exit code 1 if a mount can't work here at all.`

// finding is the outcome of one probe.
type finding struct {
	Kind   string `json:"kind"` // device, transport, mount, target or host
	Name   string `json:"name"`
	Usable bool   `json:"usable"`
	// Detail is what was found; Remedy what to do where it can't be used.
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"`
	// Needed says that no mount works without it.
	Needed bool `json:"needed"`
}

// check is a probe with what to say about it. The probe returns what it found.
type check struct {
	kind, name string
	needed     bool
	probe      func() (string, error)
	remedy     string
}

func newDoctorCommand() *cobra.Command {
	var asJSON, restore bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Tell which devices and transports this host can use",
		Long:  doctorHelp,
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if restore {
				return restoreNICs(cmd.OutOrStdout())
			}
			return runDoctor(checks(), asJSON, cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON array of findings")
	cmd.Flags().BoolVar(&restore, "restore", false, "put back what mounts that were killed left changed on NICs, and do nothing else")
	return cmd
}

func runDoctor(checks []check, asJSON bool, out io.Writer) error {
	var findings []finding
	var missing []error
	for _, c := range checks {
		f := c.run()
		findings = append(findings, f)
		if f.Needed && !f.Usable {
			missing = append(missing, fmt.Errorf("%s %s", f.Kind, f.Name))
		}
	}
	if err := printFindings(findings, asJSON, out); err != nil {
		return err
	}
	if len(missing) > 0 {
		return fmt.Errorf("no mount works here without: %w", errors.Join(missing...))
	}
	return nil
}

func (c check) run() finding {
	f := finding{Kind: c.kind, Name: c.name, Needed: c.needed}
	detail, err := c.probe()
	if err != nil {
		f.Detail, f.Remedy = err.Error(), c.remedy
		return f
	}
	f.Usable, f.Detail = true, detail
	return f
}

func printFindings(findings []finding, asJSON bool, out io.Writer) error {
	if asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(findings)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		state := "yes"
		if !f.Usable {
			state = "no"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", f.Kind, f.Name, state, f.Detail)
		if f.Remedy != "" {
			fmt.Fprintf(w, "\t\t\tremedy: %s\n", f.Remedy)
		}
	}
	return w.Flush()
}
