package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"hbmfs/fs/client"
	"hbmfs/fs/uapi"
)

// amount is how many bytes were checked: each word of an answer once, by the path that
// it came.
type amount struct {
	fetched [uapi.NumPaths]uint64
	hits    uint64 // of them, those that were resident already
	plain   uint64
}

func amountOf(b *board) (a amount) {
	for i := range b.threads {
		t := &b.threads[i]
		for path := range a.fetched {
			a.fetched[path] += t.checked[path].Load()
		}
		a.hits += t.hits.Load()
		a.plain += t.plain.Load()
	}
	return a
}

func (a *amount) add(b amount) {
	for path := range a.fetched {
		a.fetched[path] += b.fetched[path]
	}
	a.hits += b.hits
	a.plain += b.plain
}

func (a amount) String() string {
	var parts []string
	all := a.plain
	for path, n := range a.fetched {
		if all += n; n > 0 {
			parts = append(parts, fmt.Sprintf("%v %.2f GB", uapi.Path(path), float64(n)/1e9))
		}
	}
	return fmt.Sprintf("%.2f GB: FETCH %s (of it resident %.2f), read %.2f GB",
		float64(all)/1e9, strings.Join(parts, ", "), float64(a.hits)/1e9, float64(a.plain)/1e9)
}

// mountStats is what is looked at of a mount's counters.
type mountStats struct {
	Cache struct {
		Hits        int64 `json:"hits"`
		Misses      int64 `json:"misses"`
		Expected    int64 `json:"expected"`
		Leases      int64 `json:"leases"`
		LeasedBytes int64 `json:"leased_bytes"`
	} `json:"cache"`
	Target struct {
		Opens   int64 `json:"opens"`
		Reopens int64 `json:"reopens"`
		Kept    int64 `json:"kept"`
	} `json:"target"`
}

func statsOf(mnt string) (s mountStats, err error) {
	m, err := client.OpenMount(mnt)
	if err != nil {
		return s, err
	}
	defer m.Close()
	b, err := m.Stats()
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(b, &s)
}

// releaseLimit is how long it may take until a mount has released what programs held
// that have ended.
const releaseLimit = 10 * time.Second

// did tells what a mount has done that nobody uses any more, and of what it still holds.
func (s *stage) did() string {
	for began := time.Now(); ; time.Sleep(poll) {
		is, err := statsOf(s.mnt)
		held := is.Cache.Leases != 0 || is.Cache.LeasedBytes != 0
		if late := time.Since(began) > releaseLimit; late && held {
			s.wrong("%d leases of %d bytes are left, though all programs have ended", is.Cache.Leases, is.Cache.LeasedBytes)
		} else if err == nil && held || err != nil && !late {
			continue
		}
		if err != nil {
			return err.Error()
		}
		return fmt.Sprintf("%d opens and %d of what was kept, %d are kept; %d extents hit, %d missed, %d prefetched",
			is.Target.Opens, is.Target.Reopens, is.Target.Kept, is.Cache.Hits, is.Cache.Misses, is.Cache.Expected)
	}
}
