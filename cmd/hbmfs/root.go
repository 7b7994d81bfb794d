package main

import (
	"errors"
	"runtime/debug"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"hbmfs/cmd/hbmfs/internal/pin"
	"hbmfs/transport/rdma"
)

const rootHelp = `hbmfs mounts a remote dataset as a read-only file system, and gives programs its
bytes in device memory.

A target (hbmfs serve) exports directories, files or block devices. A mount
(hbmfs mount) shows them as ordinary files, whose ioctls fetch ranges into
device memory. hbmfs read does that from a shell.

Exit codes:
  0  success
  1  failure: what the command line names can't be had or used
  2  wrong command line: no host could do what it says
  3  device memory does not hold what the target has (read --verify, bench)
  4  no transport is usable, or --require-direct refused the path
  5  not an hbmfs mount
  6  the mount is busy
  128 and more: ended by a signal, as shells count: 130 is Ctrl-C, 143 SIGTERM`

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "hbmfs",
		Short:         "Mount remote datasets, and fetch their files into device memory",
		Long:          rootHelp,
		Version:       version() + lacks(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          rootArgs,
		RunE:          runRoot,
	}
	root.Flags().StringArrayP("options", "o", nil, "`list` of options, with SOURCE and MOUNTPOINT: 'hbmfs mount' as mount(8) calls it")
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(
		newServeCommand(),
		newMountCommand(),
		newUmountCommand(),
		newReadCommand(),

		newWarmCommand(),
		newStatCommand(),
		newBenchCommand(),
		newDoctorCommand(),
	)
	root.AddCommand(pin.Commands(pinShell())...)
	return root
}

// usageArgs makes a wrong number of arguments an error about the command line.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usagef("%v; usage: %s", err, cmd.UseLine())
		}
		if slices.Contains(args, "") {
			return usagef("an empty argument; usage: %s", cmd.UseLine())
		}
		return nil
	}
}

// flagError is about a flag, without the words of Go's libraries.
func flagError(_ *cobra.Command, err error) error {
	var value *pflag.InvalidValueError
	var number *strconv.NumError
	if errors.As(err, &value) && errors.As(err, &number) {
		kind := "whole number"
		if value.GetFlag().Value.Type() == "float64" {
			kind = "number"
		}
		return usagef("--%s %q: give a %s", value.GetFlag().Name, value.GetValue(), kind)
	}
	return usageError{err.Error()}
}

// version is the module's, with the revision it was built from where Go knows it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	return info.Main.Version
}

// lacks tells after the version what was left out of this build.
func lacks() string {
	if err := rdma.Built(); err != nil {
		return "\n" + err.Error()
	}
	return ""
}
