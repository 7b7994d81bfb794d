package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
)

// workerReady is what a worker prints once it has all that it needs. It begins
// when its standard input ends.
const workerReady = "ready"

// worker does a job. Its threads share the order and the sums.
type worker struct {
	Job
	mount *client.Mount // nil: the job is of plain reads
	order []int

	next, items, bytes, hits atomic.Int64
}

// Run is a worker: it does the job in arg, a [Job] in JSON, and prints the report.
func Run(arg string, in io.Reader, out io.Writer) (err error) {
	w := new(worker)
	if err := json.Unmarshal([]byte(arg), &w.Job); err != nil {
		return err
	}
	if w.Kind.fetches() {
		if w.mount, err = client.OpenMount(w.Dir); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, w.mount.Close()) }()
	}
	if _, err := fmt.Fprintln(out, workerReady); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return err
	}
	began, cpu := time.Now(), ownCPU()
	if err := w.run(); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(Report{Items: w.items.Load(), Bytes: w.bytes.Load(), Hits: w.hits.Load(),
		Took: time.Since(began), CPU: ownCPU() - cpu})
}

// ownCPU is the CPU time of this process so far.
func ownCPU() time.Duration {
	var ru unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &ru) // which can't fail
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// Do does a job in this process, and tells nothing but whether it could.
func Do(j Job) error { return (&worker{Job: j}).run() }

// run does the job by its threads.
func (w *worker) run() error {
	w.order = w.Job.order()
	each := map[Kind]func() error{
		FetchFiles: w.fetchFiles, ReadFiles: w.readFiles,
		FetchSamples: w.fetchSamples, ReadSamples: w.readSamples, FetchHits: w.fetchHits,
		BatchFiles: w.batchFiles, RingFiles: w.ringFiles, RingSamples: w.ringSamples, RingInto: w.ringInto, RingHits: w.ringHits,
	}[w.Kind]
	if each == nil {
		return fmt.Errorf("no work of the kind %q", w.Kind)
	}
	var g errgroup.Group
	for range w.Threads {
		g.Go(each)
	}
	return g.Wait()
}

// each calls do for one after another in the order, of those that no other thread
// has had.
func (w *worker) each(do func(i int) (int64, error)) error {
	for {
		i, ok := w.take()
		if !ok {
			return nil
		}
		n, err := do(i)
		if err != nil {
			return err
		}
		w.items.Add(1)
		w.bytes.Add(n)
	}
}

// take returns the next in the order that no other thread has had.
func (w *worker) take() (i int, ok bool) {
	at := int(w.next.Add(1)) - 1
	if at >= len(w.order) {
		return 0, false
	}
	return w.order[at], true
}

func (w *worker) path(i int) string { return filepath.Join(w.Dir, Name(i)) }
