package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"hbmfs/cache"
	"hbmfs/cmd/hbmfs/internal/size"
	"hbmfs/fs"
	"hbmfs/fs/uapi"
	"hbmfs/remote"
)

// statTable prints lines of a name and a value.
type statTable struct{ w *tabwriter.Writer }

func (t statTable) line(name, format string, args ...any) {
	fmt.Fprintf(t.w, "%s\t%s\n", shown(name), shownText(fmt.Sprintf(format, args...)))
}

func printStats(out io.Writer, s fs.Stats) error {
	t := statTable{tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	uptime := time.Duration(s.UptimeSeconds * float64(time.Second)).Round(time.Second)
	t.line("source", "%s", s.Source)
	t.line("daemon", "pid %d, hbmfs %s, up %s", s.PID, s.Version, uptime)
	for i, d := range s.Devices {
		t.line(fmt.Sprint("device ", i), "%s, pool %s for each user, extents of %s", d.Name, size.Human(d.Pool), size.Human(s.Extent))
	}
	for _, tr := range s.Transports {
		t.line("transport "+tr.Name, "%s", describeTransport(tr))
	}
	t.cache(s.Cache)
	for _, u := range s.Users {
		t.line(fmt.Sprintf("uid %d device %d", u.UID, u.Device), "%s of %s leased; waits for room: %d, %.1f s in all, %d now", size.Human(u.LeasedBytes), size.Human(u.RegionBytes), u.Waits, u.WaitSeconds, u.Waiting)
	}
	t.pins(s.Pins)
	t.target(s.Target)
	if l := s.Loans; l.Granted > 0 || l.NotLent > 0 {
		t.line("loans", "%d, %s; %d held, %s; %d asked for and not lent", l.Granted, size.Human(l.Bytes), l.Held, size.Human(l.HeldBytes), l.NotLent)
		if l.NotLentWhy != "" {
			t.line("latest not lent", "%s", l.NotLentWhy)
		}
	}
	if b := s.Buffers; b.Count > 0 || b.Fetched > 0 {
		t.line("buffers", "%d of programs, %s; %d are being read into; %s were, of which %s had been in device memory",
			b.Count, size.Human(b.Bytes), b.Busy, size.Human(b.Fetched), size.Human(b.Resident))
	}
	t.line("batches", "%d, of %d entries", s.Batches, s.BatchEntries)
	t.line("rings", "%d open; %d operations, of which %d found their bytes and were answered at once", s.Rings.Open, s.Rings.Operations, s.Rings.Hits)
	t.line("plain reads", "%d, %s", s.PlainReads, size.Human(s.PlainBytes))
	t.line("read ahead", "%s, of which %s were read", size.Human(s.AheadBytes), size.Human(s.AheadUsed))
	if len(s.Errors) == 0 {
		t.line("errors", "none")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Errors)) {
		t.line("errors "+name, "%d", s.Errors[name])
	}
	return t.w.Flush()
}

func describeTransport(tr fs.TransportStats) string {
	switch {
	case !tr.Usable:
		return "no: " + tr.Why
	case !tr.Chosen:
		return "usable: " + tr.Why
	case tr.Encrypted:
		return fmt.Sprintf("chosen, path %s, encrypted: %s", tr.Path, tr.Why)
	}
	return fmt.Sprintf("chosen, path %s, in clear: %s", tr.Path, tr.Why)
}

func (t statTable) cache(c cache.Stats) {
	t.line("fetches", "%d", c.Fetches)
	t.line("extents", "%d hits (%.1f %%), %d misses, %d expected by an open, %d joined while under way, %d evicted",
		c.Hits, 100*ratio(c.Hits, c.Hits+c.Misses+c.Expected+c.Joined), c.Misses, c.Expected, c.Joined, c.Evictions)
	var fetched int64
	for path, n := range c.Bytes {
		fetched += n
		if n > 0 {
			t.line("fetched "+uapi.Path(path).String(), "%s", size.Human(n))
		}
	}
	if c.Asked > 0 {
		t.line("fetched in all", "%s for %s that were asked for (%.2f times)", size.Human(fetched), size.Human(c.Asked), ratio(fetched, c.Asked))
	}
	t.line("leases", "%d, of %s", c.Leases, size.Human(c.LeasedBytes))
	t.line("resident", "%d extents, %s", c.Resident.Extents, size.Human(c.Resident.Bytes))
	t.line("filling", "%d extents, %s", c.Filling.Extents, size.Human(c.Filling.Bytes))
	t.line("quarantined", "%d extents, %s", c.Quarantined.Extents, size.Human(c.Quarantined.Bytes))
	t.line("slots", "%s, %.1f %% of it unused", size.Human(c.SlotBytes), 100*ratio(c.SlotBytes-c.Resident.Bytes-c.Filling.Bytes-c.Quarantined.Bytes, c.SlotBytes))
	t.line("regions", "%d, %s", c.Regions, size.Human(c.RegionBytes))
	if c.Reserved > 0 {
		t.line("reserved", "%d regions, %s", c.Reserved, size.Human(c.ReservedBytes))
	}
	t.line("transfers", "%d failed, %d overdue", c.Errors, c.Overdue)
}

func (t statTable) pins(p cache.Pins) {
	t.line("pins", "%d extents of %d files, of %d that there may be, %s, which take %s", p.Extents, p.Files, p.MaxFiles, size.Human(p.Bytes), size.Human(p.Held))
	for _, u := range p.Users {
		t.line(fmt.Sprintf("pins of uid %d", u.UID), "%d extents, of %d, of %d files, %s, which take %s of the %s that they may have on device %d",
			u.Extents, u.MaxExtents, u.Files, size.Human(u.Bytes), size.Human(u.Held), size.Human(u.Budget), u.Device)
	}
}

func ratio(a, b int64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// describeNames says which opens cost no message, and why others do.
func describeNames(r remote.Stats) string {
	text := fmt.Sprintf("%d delegated by the target, %d opens cost no message", r.Delegated, r.Unasked)
	if r.UndelegatedWhy != "" {
		text += "; not delegated, last: " + r.UndelegatedWhy
	}
	return text
}

func (t statTable) target(r remote.Stats) {
	if r.AwaySince != nil {
		t.line("target away", "%s; what is resident is answered as unsettled", describeAway(r))
	}
	t.line("connections", "%d up, %d lost, %d replaced, %d waits for a credit", r.Link.Connections, r.Link.Lost, r.Link.Reconnects, r.Link.Waits)
	t.line("sessions", "%d, %d control calls (%.2f for each open), %d renewals", r.Sessions, r.RoundTrips, ratio(r.RoundTrips, r.Opens+r.Reopens), r.Renewals)
	t.line("opens", "%d at the target, %d of files that had stayed open there; %d are kept so", r.Opens, r.Reopens, r.Kept)
	t.line("names", "%s", describeNames(r))
	t.line("requests", "%d, %d in flight, %d issued again, %d failed", r.Requests, r.Link.InFlight, r.Retries, r.Errors)
	t.line("received", "%s", size.Human(r.Link.Bytes))
	for _, name := range slices.Sorted(maps.Keys(r.Links)) {
		l := r.Links[name]
		t.line("link "+name, "%d up, %s received, %d requests in flight", l.Connections, size.Human(l.Bytes), l.InFlight)
	}
	if d := r.Link.Devmem; d.Recvmsgs > 0 {
		t.line("landed", "%s in device memory, %s in host memory; %d fragments, %d not given back", size.Human(d.DeviceBytes), size.Human(d.HostBytes+d.LinearBytes), d.Fragments, d.Tokens)
		t.line("receive calls", "%d recvmsg, %d to give fragments back", d.Recvmsgs, d.TokenCalls)
	}
	if reg := r.Link.Registrations; reg.How != "" {
		t.line("registered", "%s by %s, %d made, %d undone, %d requests found theirs", size.Human(reg.Bytes), reg.How, reg.Misses, reg.Evictions, reg.Hits)
	}
}
