// Package cache keeps extents of remote files in regions of device memory, and
// leases them. It owns the regions and the table of extents: single flight, pins,
// quarantine. It never reads or writes a byte of a region, never opens a file,
// knows no name and no transport, and never lets an extent or a region be seen by
// two domains.
//
// # Extents
//
// An extent is a span of one version of a file, at most Config.Extent bytes long,
// in one piece. What is fetched at random is kept as it was asked for; a run is
// kept in blocks, the aligned spans of Config.Extent bytes that a file is cut into.
// A range that lies in one extent is found there (package index). An extent is filling
// while its transfer is under way, then resident; or quarantined, if the transfer is
// overdue: then nobody finds it any more, and its memory is left alone until the
// transfer has ended. No byte of a file version is filling in two extents: who asks for
// what is under way in part waits for that part, and fetches the rest. Resident extents
// may overlap, so that each is in one piece.
//
// # Room
//
// An extent lies in a slot of its domain's region (package slots), which is held as long
// as the extent is leased, pinned, filling or quarantined. Else it goes where others need
// its place. A reserved region has a number like the others, and no slots: what lies in
// it is its user's.
//
// # Pins
//
// A user may pin extents of his: they stay, leased or not, until he unpins them, their
// time is over or the file version is forgotten. What is pinned has at most half of the
// pool, and may be fetched anew so that it lies beside other pins. Each file that has pins
// stays open, and of those there are Config.PinFiles at most.
//
// # Waiting for room
//
// Where a range does not fit because of what is leased or under transfer, a Fetch may
// wait. Those who do are served in order of arrival, pool by pool: whenever there is
// more room than before, the first of them looks whether it fits. For the first five
// seconds for which one is the first, nobody else has anything brought that needs room:
// one who may wait comes behind, and who doesn't fails with [ErrNoSpace], since the room
// he took might be leased for long, and for ever with many like him. After that, what
// fits has room, so that one who waits in vain keeps nobody else out for long; he keeps
// his place, and has room as soon as there is enough for him, before all others. What is
// there or under way already is had by all, and at once by those who wait behind others.
// What is pinned for longer than a Fetch may wait is not waited for: what does not fit
// beside it fails at once.
//
// Who waits holds nothing for it: no room, no extent, no lock. So two who wait can't
// hold each other up by what they wait for; what they hold by earlier leases can, until
// the time of the first is over.
//
// # Locking
//
// One mutex, Cache.mu, guards everything that changes: pools, their slots, extents,
// leases and counters. It is held for bookkeeping only, never over a call of
// [Source.Submit], Config.Attach, Config.Detach, a device provider or a region.
// Cache.using keeps a region open for those who found it by its id; mu is taken
// with it held, not the other way round.
// Who ends transfers takes it and never blocks otherwise. Methods whose comment
// says "with mu" are called with it held.
package cache

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"hbmfs/cache/device"
	"hbmfs/cache/index"
	"hbmfs/cache/internal/list"
	"hbmfs/transport"
	"hbmfs/transport/limits"
)

// Errors of Fetch. Each is wrapped with what failed.
var (
	// ErrInvalid: offset, length or segment limit make no sense.
	ErrInvalid = errors.New("invalid range")
	// ErrNoSpace: too much of the domain's pool is leased or under transfer for
	// the range to fit. The pool is as it was.
	ErrNoSpace = errors.New("device memory pool is full of what is pinned")
	// ErrOverdue: a transfer was not done within Config.Timeout.
	ErrOverdue = errors.New("transfer overdue")
	// ErrClosed: the cache was closed.
	ErrClosed = errors.New("cache closed")
	// ErrNoDevice: the cache has no device of that number.
	ErrNoDevice = errors.New("no such device")
	// ErrConfig: the cache can't be made as asked.
	ErrConfig = errors.New("invalid cache configuration")
)

// FileKey names one version of one file. Two files, and two versions of a file,
// never have the same.
type FileKey struct {
	Dataset uint32
	Ino     uint64
	Version transport.Version
}

// hash tells spans of file versions apart, for those that only count.
func (k *FileKey) hash(s index.Span) uint64 {
	h := uint64(k.Dataset)
	for _, w := range [...]uint64{k.Ino, binary.NativeEndian.Uint64(k.Version[:8]), uint64(s.From), uint64(s.To)} {
		h = (h ^ w) * 0x9E3779B97F4A7C15
		h ^= h >> 32
	}
	return h
}

// Source is one version of one remote file, open at its target. It must stay
// usable until everything that was submitted to it has ended. Methods may be
// called concurrently.
type Source interface {
	Key() FileKey
	// Size is in bytes, and always the same for the same key.
	Size() int64
	// Settled is false if the bytes may change without the version changing.
	// Extents of such a source are never shared and never kept.
	Settled() bool
	// Submit starts requests and never blocks. The source sets their File and
	// nothing else. Each completes exactly once, possibly before Submit returns,
	// also if it could not be started. The slice is the cache's again when Submit
	// returns; the requests, when they have completed.
	Submit(reqs []*transport.Request)
}

// Config says what a cache is made of.
type Config struct {
	// Devices are what domains name by their place here. At least one.
	Devices []Device
	// Extent is the largest extent in bytes, and the size of blocks: a power of two,
	// at least 4096.
	Extent int64
	// Timeout is how long a transfer may take before its extent is quarantined
	// and those who wait get [ErrOverdue]; also how long Attach may take. Positive.
	Timeout time.Duration
	// Attach prepares a new region as a destination of transfers; its context
	// ends after Timeout or when the cache is closed. If it fails, the region is
	// closed without Detach. Detach undoes Attach; no transfer is under way then.
	// Both may be nil.
	Attach func(context.Context, transport.Memory) error
	Detach func(transport.Memory)
	// PinFiles bounds the files that have pins, of all users together: each is an open
	// file at the target. 0: there is no bound.
	PinFiles int64
}

const minExtent = 4096

func (cfg *Config) check() error {
	switch {
	case len(cfg.Devices) == 0:
		return fmt.Errorf("%w: no device", ErrConfig)
	case cfg.Extent < minExtent || cfg.Extent&(cfg.Extent-1) != 0:
		return fmt.Errorf("%w: extent size %d is not a power of two of at least %d", ErrConfig, cfg.Extent, minExtent)
	case cfg.Timeout <= 0:
		return fmt.Errorf("%w: time-out %v is not positive", ErrConfig, cfg.Timeout)
	}
	for i, d := range cfg.Devices {
		switch {
		case d.Provider == nil:
			return fmt.Errorf("%w: device %d has no provider", ErrConfig, i)
		case d.Pool < cfg.Extent:
			return fmt.Errorf("%w: device %d: a pool of %d bytes holds no extent of %d", ErrConfig, i, d.Pool, cfg.Extent)
		}
	}
	return nil
}

// Cache is the device extent cache of a mount. Its methods may be called
// concurrently.
type Cache struct {
	cfg        Config
	extentBits int             // log2 of Config.Extent
	waits      *limits.Limit   // fetches that wait for room, by user
	pinFiles   *limits.Limit   // files with pins, likewise
	life       context.Context // ends when Close begins
	end        context.CancelFunc
	close      func() error

	mu      sync.Mutex
	closed  bool
	pools   map[transport.Domain]*pool // open, or being made
	firstID uint32                     // of regions; another one in each process
	regions []*pool                    // by id-firstID; the revoked and reserved ones too, nil for those that are closed
	filling list.List[extent]          // transfers that are not overdue, oldest first
	timer   *time.Timer                // runs expire
	armed   bool                       // timer will fire
	extents []*extent                  // free
	files   []*file                    // free
	blocks  index.Blocks
	leases  []*Lease // free
	usage   [states]Usage
	stats   Stats // without usage and regions

	expiring expiry
	pinTimer *time.Timer // runs endExpired
	unpinned []PinSource // to be released, by a goroutine if there are some

	onRevoke func(transport.Domain) // guarded by mu

	using sync.RWMutex // held to close a region, and for reading while somebody uses one by its id

	// work counts transfers and regions being made. It grows with mu held and
	// closed false, so that Close can wait for it.
	work sync.WaitGroup
}

// New makes an empty cache. The error wraps [ErrConfig].
func New(cfg Config) (*Cache, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	c := &Cache{
		cfg:        cfg,
		extentBits: bits.TrailingZeros64(uint64(cfg.Extent)),
		waits:      newWaits(),
		pinFiles:   newPinFiles(cfg.PinFiles),
		pools:      make(map[transport.Domain]*pool),
		firstID:    1 + rand.Uint32N(math.MaxUint32/2),
	}
	c.blocks.Init(c.extentBits)
	c.life, c.end = context.WithCancel(context.Background())
	c.close = sync.OnceValue(c.shut)
	c.timer = time.AfterFunc(cfg.Timeout, c.expire)
	c.timer.Stop()
	c.pinTimer = time.AfterFunc(cfg.Timeout, c.endExpired)
	c.pinTimer.Stop()
	return c, nil
}

// Region calls use with the region of that id, which a [Segment] named or which
// was reserved, and returns whether there is one: not if it was revoked or
// closed, or the cache closed. Its Domain tells whose it is. It stays open until
// use returns, which must not block.
func (c *Cache) Region(id uint32, use func(device.Region)) bool {
	c.using.RLock()
	defer c.using.RUnlock()
	r := c.region(id)
	if r == nil {
		return false
	}
	use(r)
	return true
}

// region returns the region of that id, or nil.
func (c *Cache) region(id uint32) device.Region {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := int64(id) - int64(c.firstID)
	if c.closed || i < 0 || i >= int64(len(c.regions)) {
		return nil
	}
	p := c.regions[i]
	if p == nil || p.isRevoked() {
		return nil
	}
	return p.region
}

// Forget drops a file version that is stale. Its pins end, its extents that nobody leases are
// freed now, leased ones when they are released, and those under transfer once
// they are done and let go.
func (c *Cache) Forget(key FileKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pools {
		if f := p.files[key]; f != nil {
			c.forget(f)
		}
	}
}

// Close fails those who wait with [ErrClosed], waits for the end of every
// transfer, and closes the regions. Leases that are still held are void; they
// can still be released. Every call returns what the first one did.
func (c *Cache) Close() error { return c.close() }

func (c *Cache) shut() error {
	c.mu.Lock()
	for _, p := range c.pools {
		c.endPins(p)
	}
	c.closed = true
	c.mu.Unlock()
	c.end()
	c.work.Wait()
	c.timer.Stop()
	c.pinTimer.Stop()
	c.mu.Lock()
	regions := slices.Clone(c.regions)
	c.mu.Unlock()
	var errs []error
	for _, p := range regions {
		if p != nil && !p.gone {
			errs = append(errs, c.closeRegion(p))
		}
	}
	return errors.Join(errs...)
}
