package links

import (
	"slices"

	"hbmfs/transport"
)

// AddTo returns the counters in all, by the number of the transport, with those of s's
// links as they are now.
func (s *Session) AddTo(all []transport.LinkStats) []transport.LinkStats {
	all = slices.Clone(all)
	for i, link := range s.now() {
		if i == len(all) {
			all = append(all, transport.LinkStats{})
		}
		if link != nil {
			all[i] = Sum(all[i], link.Stats())
		}
	}
	return all
}

// Sum adds up the counters of two links.
func Sum(a, b transport.LinkStats) transport.LinkStats {
	a.Connections += b.Connections
	a.Lost += b.Lost
	a.Reconnects += b.Reconnects
	a.Waits += b.Waits
	a.Requests += b.Requests
	a.Errors += b.Errors
	a.Bytes += b.Bytes
	a.InFlight += b.InFlight
	a.Registrations.Hits += b.Registrations.Hits
	a.Registrations.Misses += b.Registrations.Misses
	a.Registrations.Evictions += b.Registrations.Evictions
	a.Registrations.Bytes += b.Registrations.Bytes
	if b.Registrations.How != "" {
		a.Registrations.How = b.Registrations.How
	}
	a.Devmem = addDevmem(a.Devmem, b.Devmem)
	return a
}

func addDevmem(a, b transport.DevmemStats) transport.DevmemStats {
	a.DeviceBytes += b.DeviceBytes
	a.HostBytes += b.HostBytes
	a.LinearBytes += b.LinearBytes
	a.Fragments += b.Fragments
	a.Recvmsgs += b.Recvmsgs
	a.TokenCalls += b.TokenCalls
	a.Tokens += b.Tokens
	return a
}
