package main

import (
	"runtime/debug"

	"github.com/spf13/cobra"
)

const rootHelp = `hbmfs mounts a remote dataset as a read-only file system, and gives programs its
bytes in device memory.

A target (hbmfs serve) exports directories, files or block devices. A mount
(hbmfs mount) shows them as ordinary files, whose ioctls fetch ranges into
device memory. hbmfs read does that from a shell.

Exit codes:
  0  success
  1  failure
  2  wrong command line
  3  device memory does not hold what the target has (read --verify)
  4  no transport is usable, or --require-direct refused the path
  5  not an hbmfs mount
  6  the mount is busy`

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "hbmfs",
		Short:         "Mount remote datasets, and fetch their files into device memory",
		Long:          rootHelp,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          usageArgs(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err.Error()} })
	root.AddCommand(
		newServeCommand(),
		newMountCommand(),
		newUmountCommand(),
		newReadCommand(),
		newStatCommand(),
		newDoctorCommand(),
	)
	return root
}

// usageArgs makes a wrong number of arguments an error about the command line.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usagef("%v; usage: %s", err, cmd.UseLine())
		}
		return nil
	}
}

// version is the module's, with the revision it was built from where Go knows it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	return info.Main.Version
}
