package pin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"hbmfs/cmd/hbmfs/internal/progress"
	"hbmfs/cmd/hbmfs/internal/size"
	"hbmfs/cmd/hbmfs/internal/supervise"
	"hbmfs/fs/client"
)

// Shell is what these commands share with all others of the program.
type Shell struct {
	Args        func(cobra.PositionalArgs) cobra.PositionalArgs
	Usagef      func(format string, args ...any) error // a wrong command line
	Answers     func(path string) error                // whether the mount's daemon can answer
	UntilSignal func(context.Context) (context.Context, func())
	Explain     func(err error, path string) error
	Complain    func(io.Writer, error)
	Shown       func(string) string
	JSON        func(out io.Writer, v any, indent string) error
}

// Commands are pin, unpin, evict and revoke.
func Commands(s Shell) []*cobra.Command {
	return []*cobra.Command{newPin(s), newUnpin(s), newEvict(s), newRevoke(s)}
}

const pinHelp = `Bring files of a mount into device memory and keep them there: PATHs, and all
regular files below those that are directories, of one mount. They stay, whatever
else is fetched, until 'hbmfs unpin', for the time of --for, or until the mount ends.

Pins are the user's, and not of this command, which may end. They are of the files
as they are now: a file that changes is not pinned any more. What a user has pinned
takes at most half of his pool, in whole extents, and each file that has pins stays open
at the target, of which there may be so many: 'hbmfs stat' tells both.
What is pinned twice counts once, for the longer of the two times. If there is no
room for more, or the command is interrupted, what was pinned until then stays so.

Nothing can be pinned of a file that a writer has open, or of a file system that can't
tell of changes: that file fails, and the others go on.`

const unpinHelp = `End this user's pins of files: PATHs, and all regular files below those that are
directories, of one mount. They stay in device memory until that is needed. With
--all, PATH is any of the mount, and all pins of this user end, also those of files
that were removed or moved since.`

const evictHelp = `Drop files from this user's device memory: PATHs, and all regular files below those
that are directories, of one mount. What is pinned, what a program holds and what is
under way stays.`

func newPin(s Shell) *cobra.Command {
	var lasts time.Duration
	cmd := s.command("pin PATH...", "Keep files of a mount in device memory", pinHelp,
		"  hbmfs pin /mnt/train/index /mnt/train/val\n  hbmfs pin --for 12h /mnt/models/base.safetensors")
	cmd.Flags().DurationVar(&lasts, "for", 0, "for how `long`, such as 90m or 12h (default until it is unpinned)")
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object")
	s.runs(cmd, func(ctx context.Context, paths []string) error {
		if cmd.Flags().Changed("for") && lasts <= 0 {
			return s.Usagef("--for %v: give a time, such as 12h", lasts)
		}
		r := &run{Shell: s, stderr: cmd.ErrOrStderr()}
		r.act = func(ctx context.Context, f *client.File) (client.Pinned, error) {
			return f.Pin(ctx, 0, whole, client.PinOptions{For: lasts})
		}
		return r.do(ctx, paths, "pinned", *asJSON, cmd.OutOrStdout(), r.admitPins)
	})
	return cmd
}

func newUnpin(s Shell) *cobra.Command {
	cmd := s.command("unpin PATH... | --all PATH", "Let files of a mount leave device memory again", unpinHelp,
		"  hbmfs unpin /mnt/train/val\n  hbmfs unpin --all /mnt/train")
	all := cmd.Flags().Bool("all", false, "end all pins of this user on the mount of PATH")
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object")
	s.runs(cmd, func(ctx context.Context, paths []string) error {
		r := &run{Shell: s, stderr: cmd.ErrOrStderr()}
		r.act = func(_ context.Context, f *client.File) (client.Pinned, error) { return dropped(f.Unpin(0, whole)) }
		if !*all {
			return r.do(ctx, paths, "unpinned", *asJSON, cmd.OutOrStdout(), noBudget)
		}
		if len(paths) > 1 {
			return s.Usagef("with --all, give one PATH of the mount, and not %d", len(paths))
		}
		return r.all(paths, *asJSON, cmd.OutOrStdout())
	})
	return cmd
}

func newEvict(s Shell) *cobra.Command {
	cmd := s.command("evict PATH...", "Drop files of a mount from device memory", evictHelp, "  hbmfs evict /mnt/train/shard-000")
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object")
	s.runs(cmd, func(ctx context.Context, paths []string) error {
		r := &run{Shell: s, stderr: cmd.ErrOrStderr()}
		r.act = func(_ context.Context, f *client.File) (client.Pinned, error) { return dropped(f.Evict(0, whole)) }
		return r.do(ctx, paths, "evicted", *asJSON, cmd.OutOrStdout(), noBudget)
	})
	return cmd
}

func (s Shell) command(use, short, long, example string) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Long: long, Example: example, Args: s.Args(cobra.MinimumNArgs(1))}
}

func (s Shell) runs(cmd *cobra.Command, work func(ctx context.Context, paths []string) error) {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return supervise.Run(cmd.Context(), supervise.NoLimit, func(ctx context.Context) error { return work(ctx, args) })
	}
}

// dropped is a number of bytes as of what was pinned.
func dropped(n int64, err error) (client.Pinned, error) { return client.Pinned{Bytes: n}, err }

func noBudget(int64) error { return nil }

// admitPins refuses what can't all be pinned, before any of it is.
func (r *run) admitPins(total int64) error {
	b, err := budgetOf(r.mount)
	if err != nil {
		return err
	}
	if total > b.All {
		return fmt.Errorf("%s are more than uid %d may pin, which is half of the pool: %s; name less, or mount with a larger --pool", size.Human(total), b.UID, size.Human(b.All))
	}
	r.bar = progress.New(os.Stderr, "pin", total)
	return nil
}

// do does what the command says to all files, and prints what came of it.
func (r *run) do(ctx context.Context, paths []string, done string, asJSON bool, out io.Writer, admit func(int64) error) (err error) {
	ctx, stop := r.UntilSignal(ctx)
	defer stop()
	there, err := r.openMount(paths)
	if err == nil {
		defer func() { err = errors.Join(err, r.mount.Close()) }()
		err = r.files(ctx, there, admit)
		r.bar.Finish()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		err = r.explain(r.Explain(err, there[0]), done)
	}
	if err != nil {
		r.result.Error = err.Error()
	}
	if err != nil && r.result.Files == 0 && !asJSON {
		return errors.Join(err, r.result.err())
	}
	return errors.Join(r.print(out, done, asJSON), err, r.result.err())
}

// explain says of a mount that has no room how far that went, and adds the budget to
// the result of a pin.
func (r *run) explain(err error, done string) error {
	if done != "pinned" {
		return err
	}
	b, statErr := budgetOf(r.mount)
	if statErr != nil {
		return errors.Join(err, statErr)
	}
	if b.known {
		r.result.Budget = b
	}
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	held := ""
	if b.known {
		held = b.String() + "; "
	}
	return fmt.Errorf("%w: %s of %s are pinned, and stay so; %s'hbmfs unpin' ends some, 'hbmfs unpin --all' all", err, size.Human(r.result.Bytes), size.Human(r.result.Total), held)
}

func (r *run) all(paths []string, asJSON bool, out io.Writer) (err error) {
	if _, err := r.openMount(paths); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.mount.Close()) }()
	n, err := r.mount.UnpinAll()
	if err != nil {
		return err
	}
	if asJSON {
		return r.JSON(out, map[string]int64{"bytes": n}, "")
	}
	_, err = fmt.Fprintf(out, "unpinned all of uid %d, %s\n", os.Geteuid(), size.Human(n))
	return err
}

func (r *run) print(out io.Writer, done string, asJSON bool) error {
	if asJSON {
		return r.JSON(out, &r.result, "")
	}
	text := r.result.text(done)
	if r.result.Path != "" {
		text += fmt.Sprintf(", path %s (%s)", r.result.Path, r.result.Reason)
	}
	if r.result.Budget != nil {
		text += "; " + r.result.Budget.String()
	}
	_, err := fmt.Fprintln(out, text)
	return err
}
