package fs

import (
	"os"
	"runtime/metrics"
	"sync/atomic"
	"time"

	"hbmfs/cache"
	"hbmfs/fs/buffers"
	"hbmfs/fs/errnos"
	"hbmfs/fs/ring"
	"hbmfs/remote"
)

// Stats is what `hbmfs stat --json` prints: counters since the mount, and what
// is held now.
type Stats struct {
	Version       string            `json:"version"`
	Source        string            `json:"source"`
	PID           int               `json:"pid"`
	UptimeSeconds float64           `json:"uptime_seconds"`
	Devices       []DeviceStats     `json:"devices"` // by their numbers
	Extent        int64             `json:"extent_bytes"`
	Transports    []TransportStats  `json:"transports"`
	Cache         cache.Stats       `json:"cache"`
	Pins          cache.Pins        `json:"pins"`
	Users         []cache.UserStats `json:"users"`
	Target        remote.Stats      `json:"target"`
	Loans         LoanStats         `json:"loans"`
	Buffers       buffers.Stats     `json:"buffers"`
	Batches       int64             `json:"batches"`
	BatchEntries  int64             `json:"batch_entries"`
	Rings         ring.Stats        `json:"rings"`
	PlainReads    int64             `json:"plain_reads"`
	PlainBytes    int64             `json:"plain_bytes"`
	AheadBytes    int64             `json:"read_ahead_bytes"` // that came ahead of their plain read
	AheadUsed     int64             `json:"read_ahead_used"`  // of them, by plain reads
	// Errors counts failed requests by errno.
	Errors map[string]int64 `json:"errors"`
	// Allocations is how many objects the daemon has allocated.
	Allocations uint64 `json:"allocations"`
}

// DeviceStats says what a device of the mount is.
type DeviceStats struct {
	Name string `json:"name"`
	CPU  bool   `json:"cpu"`              // the CPU can address its memory
	Pool int64  `json:"pool_bytes"`       // for each user
	Pins int64  `json:"pin_budget_bytes"` // of it, that his pins may hold
}

// LoanStats counts loans.
type LoanStats struct {
	Granted   int64 `json:"granted"`
	Bytes     int64 `json:"bytes"` // that they covered
	Held      int64 `json:"held"`  // now
	HeldBytes int64 `json:"held_bytes"`
	NotLent   int64 `json:"not_lent"` // asked for where nothing can be lent, and fetched
	// NotLentWhy is why the latest of those was not lent.
	NotLentWhy string `json:"not_lent_why,omitempty"`
}

// TransportStats says what is known of one transport.
type TransportStats struct {
	Name      string `json:"name"`
	Path      string `json:"path"`
	Usable    bool   `json:"usable"`
	Chosen    bool   `json:"chosen"`
	Encrypted bool   `json:"encrypted"`
	Why       string `json:"why"`
}

type counters struct {
	plainReads, plainBytes    atomic.Int64
	batches, batchEntries     atomic.Int64
	loans, loanBytes, notLent atomic.Int64
	held, heldBytes           atomic.Int64 // of loans

	notLentWhy atomic.Pointer[error]

	errnos errnos.Counts
}

// refused counts a loan that was not granted because of err.
func (c *counters) refused(err error) {
	c.notLent.Add(1)
	c.notLentWhy.Store(&err)
}

func (c *counters) lending() LoanStats {
	s := LoanStats{
		Granted: c.loans.Load(), Bytes: c.loanBytes.Load(), NotLent: c.notLent.Load(),
		Held: c.held.Load(), HeldBytes: c.heldBytes.Load(),
	}
	if why := c.notLentWhy.Load(); why != nil {
		s.NotLentWhy = (*why).Error()
	}
	return s
}

func (t *tree) stats() Stats {
	c := &t.cfg
	brought, used := t.ahead.Stats()
	return Stats{
		Version: c.Version, Source: c.Source, PID: os.Getpid(), UptimeSeconds: time.Since(t.started).Seconds(),
		Devices: t.devices(), Extent: c.Extent,
		Transports: t.transports(),
		Cache:      c.Cache.Stats(), Pins: c.Cache.Pins(), Users: c.Cache.Users(), Target: t.target.Stats(),
		Loans:   t.count.lending(),
		Buffers: t.buffers.Stats(),
		Batches: t.count.batches.Load(), BatchEntries: t.count.batchEntries.Load(),
		Rings:      t.rings.Stats(),
		PlainReads: t.count.plainReads.Load(), PlainBytes: t.count.plainBytes.Load(),
		AheadBytes: brought, AheadUsed: used,
		Errors: t.count.errnos.ByName(), Allocations: allocations(),
	}
}

func (t *tree) devices() []DeviceStats {
	var all []DeviceStats
	for _, d := range t.cfg.Cache.Devices() {
		all = append(all, DeviceStats{Name: d.Provider.Name(), CPU: d.Provider.CPU(), Pool: d.Pool, Pins: d.PinBudget()})
	}
	return all
}

func (t *tree) transports() []TransportStats {
	var all []TransportStats
	for _, v := range t.target.Transports() {
		s := TransportStats{Name: v.Name, Path: v.Path.String(), Usable: v.Err == nil, Chosen: v.Chosen, Encrypted: v.Plan.Encrypted}
		switch {
		case v.Err != nil:
			s.Why = v.Err.Error()
		case v.Chosen:
			s.Why = v.Why.String()
		default:
			s.Why = "usable; a more direct one was chosen"
		}
		all = append(all, s)
	}
	return all
}

func allocations() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:objects"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
