// Package pin is the commands that keep files of a mount in device memory for their
// user, and drop them from it: pin, unpin and evict; and revoke, which takes the memory.
//
// It walks paths and asks the mount file by file; what is pinned, and for whom, only
// the mount knows.
//
// Locking: workers share what has come of a run under run.mu, which is not held over a
// call.
package pin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"hbmfs/cmd/hbmfs/internal/onemount"
	"hbmfs/cmd/hbmfs/internal/progress"
	"hbmfs/cmd/hbmfs/internal/size"
	"hbmfs/cmd/hbmfs/internal/warm"
	"hbmfs/fs/client"
	"hbmfs/fs/uapi"
)

// workers is how many files are asked for at once.
const workers = 8

// whole is the length of all of a file.
const whole = warm.Whole

// result is what became of the files. Bytes are of files, and not what they take in
// the pool.
type result struct {
	Files     int64   `json:"files"`
	Failed    int64   `json:"failed"`
	Bytes     int64   `json:"bytes"`
	Total     int64   `json:"total_bytes"` // of all files that were found
	Seconds   float64 `json:"seconds"`
	Path      string  `json:"path,omitempty"` // of a pin: the least direct
	Reason    string  `json:"reason,omitempty"`
	Unsettled bool    `json:"unsettled,omitempty"` // it may have changed unnoticed
	Budget    *budget `json:"budget,omitempty"`
	Error     string  `json:"error,omitempty"` // what ended it
}

// run is one command's.
type run struct {
	Shell
	mount  *client.Mount
	stderr io.Writer
	bar    progress.Bar
	act    func(context.Context, *client.File) (client.Pinned, error)

	mu     sync.Mutex
	result result    // guarded by mu, as is path
	path   uapi.Path // of result
}

// files has act done to all files at and below paths. An error that others of them
// would meet too ends it.
func (r *run) files(ctx context.Context, paths []string, admit func(total int64) error) error {
	began := time.Now()
	defer func() { r.result.Seconds = time.Since(began).Seconds() }()
	files, total, err := warm.Walk(ctx, paths, r.failed)
	if err != nil {
		return err
	}
	r.result.Total = total
	if err := admit(total); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	for _, f := range files {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error { return r.file(ctx, f.Path) })
	}
	return group.Wait()
}

func (r *run) file(ctx context.Context, path string) error {
	p, err := r.open(ctx, path)
	r.bar.Add(p.Bytes)
	r.mu.Lock()
	r.add(p)
	if err == nil {
		r.result.Files++
	}
	r.mu.Unlock()
	if err == nil || ctx.Err() != nil {
		return err
	}
	for _, own := range []error{fs.ErrNotExist, fs.ErrPermission, syscall.ESTALE, syscall.EISDIR, syscall.EAGAIN, client.ErrNotRegular} {
		if errors.Is(err, own) {
			r.failed(err)
			return nil
		}
	}
	return err
}

func (r *run) open(ctx context.Context, path string) (p client.Pinned, err error) {
	f, err := r.mount.Open(path)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return r.act(ctx, f)
}

// add counts what was done to a file. With mu.
func (r *run) add(p client.Pinned) {
	r.result.Bytes += p.Bytes
	r.result.Unsettled = r.result.Unsettled || p.Unsettled
	if p.Path != uapi.PathNone && (r.path == uapi.PathNone || p.Path < r.path) {
		r.path = p.Path
		r.result.Path, r.result.Reason = p.Path.String(), p.Why.String()
	}
}

// failed tells of a file that does not stop the others.
func (r *run) failed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Failed++
	r.Complain(r.stderr, err)
}

// openMount opens the mount that all paths must be of, and returns those that are there.
func (r *run) openMount(paths []string) (there []string, err error) {
	r.mount, there, err = onemount.Open(paths, r.Answers, r.failed)
	if errors.Is(err, onemount.ErrSeveral) {
		err = r.Usagef("%s: name each mount's by themselves", r.Shown(err.Error()))
	}
	return there, err
}

// text is r in words: what was done, such as "pinned".
func (r *result) text(done string) string {
	count := fmt.Sprintf("%d files", r.Files)
	if r.Files == 1 {
		count = "1 file"
	}
	return fmt.Sprintf("%s %s, %s", done, count, size.Human(r.Bytes))
}

func (r *result) err() error {
	if r.Failed == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d files failed", r.Failed, r.Failed+r.Files)
}
