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
	byRing  uint64 // of them, those that came by a ring
	into    uint64 // of them, those that came into a buffer
	plain   uint64
}

func amountOf(b *board) (a amount) {
	for i := range b.threads {
		t := &b.threads[i]
		for path := range a.fetched {
			a.fetched[path] += t.checked[path].Load()
		}
		a.hits += t.hits.Load()
		a.byRing += t.byRing.Load()
		a.into += t.into.Load()
		a.plain += t.plain.Load()
	}
	return a
}

func (a *amount) add(b amount) {
	for path := range a.fetched {
		a.fetched[path] += b.fetched[path]
	}
	a.hits += b.hits
	a.byRing += b.byRing
	a.into += b.into
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
	return fmt.Sprintf("%.2f GB: FETCH %s (of it resident %.2f, by a ring %.2f, into a buffer %.2f), read %.2f GB",
		float64(all)/1e9, strings.Join(parts, ", "), float64(a.hits)/1e9, float64(a.byRing)/1e9, float64(a.into)/1e9, float64(a.plain)/1e9)
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
	Rings struct {
		Open       int   `json:"open"`
		Operations int64 `json:"operations"`
		Hits       int64 `json:"hits"`
	} `json:"rings"`
	Buffers struct {
		Count   int   `json:"count"`
		Bytes   int64 `json:"bytes"`
		Busy    int   `json:"busy"`
		Fetched int64 `json:"fetched_bytes"`
	} `json:"buffers"`
	Batches int64 `json:"batches"`
}

// held is what of a mount programs still have, "" if nothing.
func (s *mountStats) held() string {
	var all []string
	for _, h := range []struct {
		what string
		n    int64
	}{
		{"leases", s.Cache.Leases}, {"bytes leased", s.Cache.LeasedBytes}, {"rings", int64(s.Rings.Open)},
		{"buffers", int64(s.Buffers.Count)}, {"bytes of buffers", s.Buffers.Bytes}, {"busy buffers", int64(s.Buffers.Busy)},
	} {
		if h.n != 0 {
			all = append(all, fmt.Sprintf("%d %s", h.n, h.what))
		}
	}
	return strings.Join(all, ", ")
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

// did tells what a mount has done that nobody uses any more, and finds what of it is
// still held.
func (s *stage) did() string {
	is, err := s.awaitRelease()
	if err != nil {
		return err.Error()
	}
	s.checkDescriptors()
	return fmt.Sprintf("%d opens and %d of what was kept, %d are kept; %d extents hit, %d missed, %d prefetched; %d operations of rings, %d answered at once; %.2f GB into buffers; %d batches",
		is.Target.Opens, is.Target.Reopens, is.Target.Kept, is.Cache.Hits, is.Cache.Misses, is.Cache.Expected,
		is.Rings.Operations, is.Rings.Hits, float64(is.Buffers.Fetched)/1e9, is.Batches)
}

func (s *stage) awaitRelease() (is mountStats, err error) {
	for began := time.Now(); ; time.Sleep(poll) {
		is, err = statsOf(s.mnt)
		late := time.Since(began) > releaseLimit
		switch held := is.held(); {
		case err == nil && held == "" || err != nil && late:
			return is, err
		case late:
			s.wrong("%s are left, though all programs have ended", held)
			return is, nil
		}
	}
}
