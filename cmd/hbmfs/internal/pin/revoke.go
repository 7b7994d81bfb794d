package pin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/spf13/cobra"

	"hbmfs/cmd/hbmfs/internal/size"
	"hbmfs/fs/client"
)

const revokeHelp = `Take the memory of a device of a mount from all users, such as to have it for
something else. Programs that hold bytes there are told so: what they wait for, and
what they release, is ENODEV, and the revocations of their rings count on. What they
have mapped goes with their mappings. Who fetches next gets other memory of the device.

Only root and the user of the mount's daemon may.`

func newRevoke(s Shell) *cobra.Command {
	cmd := &cobra.Command{
		Use: "revoke MOUNT", Short: "Take a device's memory from all users of a mount", Long: revokeHelp,
		Example: "  hbmfs revoke --device 0 /mnt/train", Args: s.Args(cobra.ExactArgs(1)),
	}
	device := cmd.Flags().Uint32("device", 0, "`number` of the device, as 'hbmfs stat' has it")
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object")
	s.runs(cmd, func(_ context.Context, paths []string) error {
		if !cmd.Flags().Changed("device") {
			return s.Usagef("say of which device, such as --device 0; 'hbmfs stat' lists them")
		}
		return s.revoke(paths[0], *device, *asJSON, cmd.OutOrStdout())
	})
	return cmd
}

func (s Shell) revoke(path string, device uint32, asJSON bool, out io.Writer) (err error) {
	if err := s.Answers(path); err != nil {
		return err
	}
	m, err := client.OpenMount(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	regions, bytes, err := m.Revoke(device)
	if errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("%w: only root and the user of the mount's daemon may", err)
	}
	if err != nil {
		return err
	}
	if asJSON {
		return s.JSON(out, map[string]int64{"device": int64(device), "regions": int64(regions), "bytes": bytes}, "")
	}
	_, err = fmt.Fprintf(out, "revoked the memory of %d users on device %d, %s\n", regions, device, size.Human(bytes))
	return err
}
