// Package warm brings files of a mount into its device memory before they are
// asked for: all that are named, or ranges in the order in which they will be read.
//
// It pins nothing for longer than it takes to come: what was brought stays until
// the mount needs the room for something else. It prints nothing.
//
// Locking: workers share the result under warmer.mu, and the pace of an order has
// its own lock; neither is held over a call.
package warm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"hbmfs/cmd/hbmfs/internal/stream"
	"hbmfs/fs/client"
	"hbmfs/fs/uapi"
)

// workers is how many files are brought at once.
const workers = 8

// ErrPool: the mount's pool does not hold what was asked for.
var ErrPool = errors.New("the pool is too small")

// poolError wraps [ErrPool]. Its text stands alone.
type poolError struct{ text string }

func (e poolError) Error() string { return e.text }
func (poolError) Unwrap() error   { return ErrPool }

// errPastEnd: a range begins where its file has ended.
var errPastEnd = errors.New("past the end of the file")

func poolErrorf(format string, args ...any) error { return poolError{fmt.Sprintf(format, args...)} }

// Counters are what a mount tells of its device memory: extents.
type Counters struct{ Resident, Evictions int64 }

// Config says what is warmed, and who is told.
type Config struct {
	Mount    *client.Mount
	Counters func() (Counters, error)
	Started  func(size int64) // bytes that will come; -1: that is not known
	Came     func(n int64)    // by several goroutines at once
	Failed   func(error)      // a file that does not stop the others; by several goroutines at once
}

// Result is what was brought. Bytes are of files, and not what they take in the pool.
type Result struct {
	Files    int64   `json:"files"` // or ranges
	Failed   int64   `json:"failed"`
	Bytes    int64   `json:"bytes"`
	Segments int64   `json:"segments"`
	Hits     int64   `json:"hits"` // segments that were in device memory already
	Path     string  `json:"path"` // the least direct
	Reason   string  `json:"reason"`
	Seconds  float64 `json:"seconds"`
	GBps     float64 `json:"gbps"`
	// Unsettled counts files that may change: nothing of them stays.
	Unsettled int64 `json:"unsettled"`
	// Evicted is how many extents at least, of files that were brought or found, had
	// to make room again.
	Evicted int64 `json:"evicted"`
	Pool    int64 `json:"pool_bytes"`
	// Skipped counts lines of an order that had been read before their turn.
	Skipped int64 `json:"skipped"`
	// Stopped: the window was full, and the reader told of no more progress.
	Stopped bool `json:"stopped"`
}

// warmer is one run.
type warmer struct {
	Config
	piece int64 // bytes a FETCH
	room  int   // segments of one

	mu     sync.Mutex
	result Result // guarded by mu
	path   uapi.Path
	why    uapi.Reason
}

// Files brings whole files. The error wraps [ErrPool] if they can't all stay; if
// that shows before, nothing is brought.
func Files(ctx context.Context, c Config, files []File, size int64) (Result, error) {
	return run(c, size, func(w *warmer) error {
		if size > w.result.Pool {
			return poolErrorf("the pool of %s is smaller than what was asked for: %s; mount with a larger --pool, or bring a --window of it with --follow-order", mebibytes(w.result.Pool), mebibytes(size))
		}
		before, err := c.Counters()
		if err != nil {
			return err
		}
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(workers)
		for _, f := range files {
			if ctx.Err() != nil {
				break
			}
			group.Go(func() error { return w.bring(ctx, Range{Path: f.Path, Len: Whole}) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
		return w.judge(before)
	})
}

// Order is the order in which ranges will be read.
type Order struct {
	Lines io.Reader // as [ParseLine] reads them
	Root  string    // all paths are below it
	// Read says how far the reader is: a number of lines of the order, each in a
	// line of its own. nil: nothing is known of that.
	Read   io.Reader
	Window int64 // bytes that may be brought before they are read; 0: half the pool
}

// Follow brings ranges in an order, and stays within its window ahead of who reads
// them. It returns at the end of the order, or once the window is full and nothing
// more can be heard of the reader.
func Follow(ctx context.Context, c Config, o Order) (Result, error) {
	return run(c, -1, func(w *warmer) error {
		if o.Window == 0 {
			o.Window = w.result.Pool / 2
		}
		if o.Window > w.result.Pool {
			return poolErrorf("the pool of %s is smaller than the window: %s; mount with a larger --pool, or give a smaller --window", mebibytes(w.result.Pool), mebibytes(o.Window))
		}
		p := newPace(o.Window)
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		if o.Read == nil {
			p.end()
		} else {
			go func() { // until Read ends, which may be after all else
				if err := p.listen(o.Read); err != nil {
					cancel(err)
				}
			}()
		}
		err := w.follow(ctx, o, p)
		if cause := context.Cause(ctx); errors.Is(cause, ErrProgress) {
			return cause
		}
		return err
	})
}

// errStopped ends the reading of an order.
var errStopped = errors.New("the window is full")

func (w *warmer) follow(ctx context.Context, o Order, p *pace) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	roots := rootsOf(o.Root)
	err := readLines(o.Lines, errOrderLines, func(number int64, line string) error {
		if strings.TrimSpace(line) == "" { // it counts all the same
			_, err := p.admit(ctx, number, 0)
			return err
		}
		r, err := ParseLine(line)
		if err != nil {
			return err
		}
		if r.Path, err = roots.join(r.Path); err != nil {
			return err
		}
		switch v, err := p.admit(ctx, number, r.size()); {
		case err != nil:
			return err
		case v == stop:
			return errStopped
		case v == skip:
			w.note(func(r *Result) { r.Skipped++ })
			return nil
		}
		group.Go(func() error { return w.bring(ctx, r) })
		return nil
	})
	if groupErr := group.Wait(); groupErr != nil {
		return groupErr // by which the reading of the order ended
	}
	if errors.Is(err, errStopped) {
		w.result.Stopped = true
		return nil
	}
	return err
}

// size is how many bytes r has in its file, as far as can be told without opening
// it.
func (r Range) size() int64 {
	if r.Len != Whole {
		return r.Len
	}
	var st unix.Stat_t
	if err := unix.Stat(r.Path, &st); err != nil {
		return 0 // which its open will tell
	}
	return st.Size
}

// run has work bring something, and adds up what came of it.
func run(c Config, size int64, work func(*warmer) error) (Result, error) {
	w := &warmer{Config: c}
	info, err := c.Mount.Info()
	if err != nil {
		return w.result, err
	}
	if len(info.Devices) > 0 {
		w.result.Pool = info.Devices[0].Pool
	}
	w.piece, w.room = stream.Share(info, workers)
	c.Started(size)
	began := time.Now()
	err = work(w)
	w.finish(time.Since(began))
	return w.result, err
}

func (w *warmer) finish(took time.Duration) {
	r := &w.result
	r.Path, r.Reason = w.path.String(), w.why.String()
	if r.Segments == 0 {
		r.Path, r.Reason = "", "nothing to fetch"
	}
	if r.Seconds = took.Seconds(); r.Seconds > 0 {
		r.GBps = float64(r.Bytes) / r.Seconds / 1e9
	}
}

// judge says whether all that was brought has stayed. The least recently used goes
// first, so that this makes room only once all else has gone.
func (w *warmer) judge(before Counters) error {
	after, err := w.Counters()
	if err != nil {
		return err
	}
	r := &w.result
	others := max(0, before.Resident-r.Hits)
	r.Evicted = max(0, after.Evictions-before.Evictions-others)
	if r.Evicted > 0 {
		return poolErrorf("the pool of %s holds less than was brought: %d extents of %d made room again; in the pool an extent may take twice what it holds of its file, and others may have used the mount",
			mebibytes(r.Pool), r.Evicted, r.Segments)
	}
	return nil
}

// bring brings a range. Of errors, it returns those that other files would meet
// too.
func (w *warmer) bring(ctx context.Context, r Range) error {
	err := w.fetch(ctx, r)
	if err == nil || ctx.Err() != nil {
		return err
	}
	for _, own := range []error{fs.ErrNotExist, fs.ErrPermission, unix.ESTALE, unix.EISDIR, client.ErrNotRegular, errPastEnd} {
		if errors.Is(err, own) {
			w.note(func(r *Result) { r.Failed++ })
			w.Failed(err)
			return nil
		}
	}
	return err
}

func (w *warmer) fetch(ctx context.Context, r Range) (err error) {
	f, err := w.Mount.Open(r.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	end, unsettled := int64(Whole), false
	if r.Len != Whole {
		end = r.Off + r.Len
	}
	var lease client.Lease
	for off := r.Off; off < end; end = min(end, lease.FileSize) {
		opts := client.FetchOptions{MaxSegments: w.room, Release: lease.Handle}
		if err := stream.FetchWhenRoom(ctx, f, &lease, off, min(end-off, w.piece), opts); err != nil {
			return err
		}
		if lease.Fetched == 0 && off < min(end, lease.FileSize) {
			return fmt.Errorf("%s: no bytes came at %d of %d", r.Path, off, lease.FileSize)
		}
		if r.Off > 0 && r.Off >= lease.FileSize {
			return fmt.Errorf("%s: the range at %d is %w, which has %d bytes", r.Path, r.Off, errPastEnd, lease.FileSize)
		}
		off += lease.Fetched
		unsettled = unsettled || lease.Unsettled
		w.count(&lease)
	}
	w.note(func(r *Result) {
		r.Files++
		if unsettled {
			r.Unsettled++
		}
	})
	return nil
}

func (w *warmer) note(what func(*Result)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	what(&w.result)
}

func (w *warmer) count(l *client.Lease) {
	w.Came(l.Fetched)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(l.Segments) > 0 && (w.result.Segments == 0 || l.Path < w.path) {
		w.path, w.why = l.Path, l.Why
	}
	w.result.Bytes += l.Fetched
	w.result.Segments += int64(len(l.Segments))
	for _, s := range l.Segments {
		if s.Hit {
			w.result.Hits++
		}
	}
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB (%d bytes)", float64(n)/(1<<20), n) }

func countFiles(n int64) string {
	if n == 1 {
		return "1 file"
	}
	return fmt.Sprintf("%d files", n)
}

// String is a sentence about r.
func (r Result) String() string {
	text := fmt.Sprintf("%s, %d bytes, %d of %d segments were in device memory already; %.2f GB/s, path %s (%s)",
		countFiles(r.Files), r.Bytes, r.Hits, r.Segments, r.GBps, r.Path, r.Reason)
	if r.Segments == 0 {
		text = countFiles(r.Files) + ", nothing to fetch"
	}
	if r.Unsettled > 0 {
		text += fmt.Sprintf("; %s may change, and nothing of that stays", countFiles(r.Unsettled))
	}
	if r.Skipped > 0 {
		text += fmt.Sprintf("; %d had been read before their turn", r.Skipped)
	}
	if r.Stopped {
		text += "; the window is full, and nothing more can be heard of the reader"
	}
	return text
}
