package main

import (
	"context"
	"errors"

	"hbmfs/cmd/hbmfs/internal/supervise"

	"github.com/spf13/cobra"
)

// mount(8) has two ways to a file system that the kernel does not know: for the
// type hbmfs it runs /sbin/mount.hbmfs, which is this program by another name;
// for fuse.hbmfs it runs mount.fuse3, and that runs
//
//	hbmfs SOURCE MOUNTPOINT -o OPTIONS

// isMountHelper reports whether a program of that name is called by mount(8).
func isMountHelper(name string) bool { return name == "mount.hbmfs" || name == "mount.fuse.hbmfs" }

// newMountHelper is the mount command with the flags of mount(8)'s helpers
// (EXTERNAL HELPERS in its manual).
func newMountHelper(name string) *cobra.Command {
	o := defaultMountOptions()
	cmd := mountCommand(&o)
	cmd.Use = name + " SOURCE MOUNTPOINT"
	cmd.Version, cmd.SilenceUsage, cmd.SilenceErrors = version(), true, true
	cmd.SetFlagErrorFunc(flagError)
	f := cmd.Flags()
	f.BoolVarP(&o.fake, "fake", "f", false, "check only, and mount nothing")
	f.BoolVarP(&o.sloppy, "sloppy", "s", false, "ignore unknown options")
	f.BoolP("no-mtab", "n", false, "ignored: there is no mtab")
	f.BoolP("verbose", "v", false, "ignored")
	f.FuncP("namespace", "N", "refused: mount in this mount `namespace`", refuseNamespace)
	f.StringP("types", "t", "", "ignored: the `type` is hbmfs")
	return cmd
}

// refuseNamespace is of a flag: the daemon would go on living in the name space it
// was started in, and look for its mount there.
func refuseNamespace(string) error {
	return errors.New("a mount is made in the name space that its daemon lives in; use 'nsenter --mount=NAMESPACE mount ...'")
}

// Exit codes of mount(8).
const (
	helperUsage   = 1
	helperFailure = 32
)

// mountHelperCode is the exit code for mount(8). That of a worker is for its
// parent, which asks here again.
func mountHelperCode(ctx context.Context, code int) int {
	switch {
	case code == exitOK || !supervise.IsSupervised(ctx):
		return code
	case code == exitUsage:
		return helperUsage
	}
	return helperFailure
}

// rootArgs takes what mount.fuse3 gives, or nothing.
func rootArgs(cmd *cobra.Command, args []string) error {
	if !cmd.Flags().Changed("options") {
		return usageArgs(cobra.NoArgs)(cmd, args)
	}
	if len(args) != 2 {
		return usagef("-o belongs to a source and a mount point; usage: hbmfs SOURCE MOUNTPOINT -o OPTIONS")
	}
	return nil
}

// runRoot mounts as mount.fuse3 wants, or helps.
func runRoot(cmd *cobra.Command, args []string) error {
	lists, err := cmd.Flags().GetStringArray("options")
	if err != nil || len(lists) == 0 {
		return cmd.Help()
	}
	mount := newMountCommand()
	mount.SetContext(cmd.Context())
	mount.SetOut(cmd.OutOrStdout())
	mount.SetErr(cmd.ErrOrStderr())
	for _, list := range lists {
		if err := mount.Flags().Set("options", list); err != nil {
			return err
		}
	}
	return mount.RunE(mount, args)
}
