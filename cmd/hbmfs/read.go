package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"hbmfs/cmd/hbmfs/internal/progress"
	"hbmfs/cmd/hbmfs/internal/size"
	"hbmfs/cmd/hbmfs/internal/stream"
	"hbmfs/cmd/hbmfs/internal/supervise"
	"hbmfs/fs/client"
)

type readOptions struct {
	span   byteSpan
	verify bool
	loan   bool
	json   bool
}

const readHelp = `Fetch files of a mount into device memory by ioctl, and tell how their bytes
came. Files larger than the mount's pool stream through it. Nothing is printed of
their content.

With --verify, the SHA-256 of each window of device memory is compared with one
that the target computes from its source; the time then includes both.

With --loan, the bytes stay where the NIC put them, if the mount's transport can
lend them; how many did is told. A file that may have changed unnoticed, since it
may have a writer or the target does not answer, is told as unsettled.

A file that fails does not stop the others; the exit code tells (see 'hbmfs
--help').`

func newReadCommand() *cobra.Command {
	o := readOptions{span: byteSpan{length: math.MaxInt64}}
	cmd := &cobra.Command{
		Use:   "read FILE...",
		Short: "Fetch files of a mount into device memory",
		Long:  readHelp,
		Example: `  hbmfs read /mnt/train/shard-000
  hbmfs read --verify --range 1GiB:64MiB /mnt/train/shard-000`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return supervise.Run(cmd.Context(), supervise.NoLimit, func(ctx context.Context) error {
				return runRead(ctx, o, args, cmd.OutOrStdout(), cmd.ErrOrStderr())
			})
		},
	}
	f := cmd.Flags()
	f.Var(&o.span, "range", "bytes to fetch of each file, such as 1GiB:64MiB; what is past its end is left out")
	f.BoolVar(&o.verify, "verify", false, "compare device memory with digests from the target")
	f.BoolVar(&o.loan, "loan", false, "have the bytes lent where the NIC put them, uncached, if possible")
	f.BoolVar(&o.json, "json", false, "print one JSON object a file")
	return cmd
}

func runRead(ctx context.Context, o readOptions, names []string, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, unix.SIGTERM)
	defer stop()
	var mounts mountSet
	defer mounts.close()
	print := printRow
	if o.json {
		print = printObject
	} else {
		fmt.Fprintln(stdout, rowHeader)
	}
	failed := filesError{total: len(names)}
	for _, name := range names {
		result, err := readUnlessAway(ctx, &mounts, name, o, failed)
		if err != nil {
			failed.errs = append(failed.errs, err)
			failed.tell(stderr, err)
		}
		if err := print(stdout, result); err != nil {
			return err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return failed.all()
}

// readUnlessAway does not wait for a target again that was away for another file,
// and still is.
func readUnlessAway(ctx context.Context, mounts *mountSet, name string, o readOptions, failed filesError) (readResult, error) {
	if errors.Is(failed, unix.EIO) {
		if away, ok := targetAway(name); ok {
			err := fmt.Errorf("%s: not tried: %w; %s", name, unix.EIO, describeAway(away))
			return readResult{File: name, Error: err.Error()}, err
		}
	}
	return readOne(ctx, mounts, name, o)
}

// readResult is what read tells of one file.
type readResult struct {
	File      string  `json:"file"`
	Bytes     int64   `json:"bytes"`
	Segments  int64   `json:"segments"`
	Hits      int64   `json:"hits"` // segments that were in device memory already
	Path      string  `json:"path"` // the least direct of the segments'
	Reason    string  `json:"reason"`
	Seconds   float64 `json:"seconds"`
	GBps      float64 `json:"gbps"`
	Lent      *int64  `json:"lent,omitempty"` // bytes that stayed where the NIC put them, with --loan
	Unsettled bool    `json:"unsettled"`      // it may have changed unnoticed
	Verified  bool    `json:"verified"`
	// Mismatches counts the windows that differ from the target's digest.
	Mismatches int           `json:"mismatches"`
	Wrong      []stream.Span `json:"wrong,omitempty"`
	Error      string        `json:"error,omitempty"`
}

// readOne fetches the range of a file that o asks for, window by window.
func readOne(ctx context.Context, mounts *mountSet, name string, o readOptions) (readResult, error) {
	result := readResult{File: name, Verified: o.verify}
	err := explainEIO(readFile(ctx, mounts, name, o, &result), name)
	if err == nil && result.Mismatches > 0 {
		err = fmt.Errorf("%w: %s: device memory differs from the target in %d windows: %v", errMismatch, name, result.Mismatches, result.Wrong)
	}
	if err != nil {
		result.Error = err.Error()
		result.Verified = result.Verified && result.Mismatches > 0
	}
	return result, err
}

func readFile(ctx context.Context, mounts *mountSet, name string, o readOptions, result *readResult) (err error) {
	f, err := mounts.open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var bar progress.Bar
	defer func() { bar.Finish() }()
	total, err := stream.Fetch(ctx, f, stream.Options{
		Span: stream.Span{Off: int64(o.span.off), Len: int64(o.span.length)}, Verify: o.verify, Loan: o.loan,
		Started:  func(size int64) { bar = progress.New(os.Stderr, name, size) },
		Progress: func(n int64) { bar.Add(n) },
	})
	if total.Took > 0 { // it was begun
		result.report(total)
		if o.loan {
			result.Lent = &total.Lent
		}
	}
	return err
}

func (r *readResult) report(t stream.Total) {
	r.Bytes, r.Segments, r.Hits = t.Bytes, t.Segments, t.Hits
	r.Path, r.Reason, r.Unsettled = t.Path.String(), t.Why.String(), t.Unsettled
	if t.Segments == 0 {
		r.Reason = "nothing to fetch"
	}
	r.Seconds = t.Took.Seconds()
	if r.Seconds > 0 {
		r.GBps = float64(t.Bytes) / r.Seconds / 1e9
	}
	r.Wrong, r.Mismatches = t.Wrong, len(t.Wrong)
}

const rowHeader = "         BYTES  SEGMENTS      HITS  PATH          GB/s  MISMATCHES  FILE (REASON)"

func printRow(out io.Writer, r readResult) error {
	if r.Error != "" {
		return nil // told on standard error
	}
	mismatches := "-"
	if r.Verified {
		mismatches = fmt.Sprint(r.Mismatches)
	}
	more := ""
	if r.Lent != nil {
		more = fmt.Sprintf(", %d bytes lent", *r.Lent)
	}
	if r.Unsettled {
		more += ", unsettled"
	}
	_, err := fmt.Fprintf(out, "%14d  %8d  %8d  %-10s  %6.2f  %10s  %s (%s%s)\n",
		r.Bytes, r.Segments, r.Hits, r.Path, r.GBps, mismatches, shown(r.File), shown(r.Reason), more)
	return err
}

func printObject(out io.Writer, r readResult) error { return writeJSON(out, r, "") }

// filesError says how many files failed. What failed of each of several has been
// told by then.
type filesError struct {
	total int
	errs  []error
}

func (e filesError) Error() string { return fmt.Sprintf("%d of %d files failed", len(e.errs), e.total) }

func (e filesError) Unwrap() []error { return e.errs }

func (e filesError) tell(stderr io.Writer, err error) {
	if e.total > 1 {
		complain(stderr, err)
	}
}

// all is the error of all files together: nil if none failed, and that of the
// file if there is one file.
func (e filesError) all() error {
	switch {
	case len(e.errs) == 0:
		return nil
	case e.total == 1:
		return e.errs[0]
	}
	return e
}

// byteSpan is a flag that takes OFF:LEN.
type byteSpan struct{ off, length size.Bytes }

// Set implements [pflag.Value].
func (s *byteSpan) Set(text string) error {
	from, n, ok := strings.Cut(text, ":")
	if !ok {
		return fmt.Errorf("%q is not OFF:LEN, such as 1GiB:64MiB", text)
	}
	off, err := size.Parse(from)
	if err != nil {
		return err
	}
	length, err := size.Parse(n)
	if err != nil {
		return err
	}
	*s = byteSpan{off, length}
	return nil
}

// Type implements [pflag.Value].
func (*byteSpan) Type() string { return "OFF:LEN" }

func (s *byteSpan) String() string {
	if s.length == math.MaxInt64 {
		return ""
	}
	return s.off.String() + ":" + s.length.String()
}

// mountSet is the mounts that files were opened in, each opened once.
type mountSet []*client.Mount

// open opens a file of whichever mount it lies in.
func (s *mountSet) open(name string) (*client.File, error) {
	for _, m := range *s {
		f, err := m.Open(name)
		if !errors.Is(err, client.ErrNotHBMFS) {
			return f, err
		}
	}
	m, err := client.OpenMount(name)
	if err != nil {
		return nil, err
	}
	*s = append(*s, m)
	return m.Open(name)
}

func (s *mountSet) close() {
	for _, m := range *s {
		_ = m.Close() // what it fails to unmap goes with the process
	}
}
