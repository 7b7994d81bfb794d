package buffers

import "hbmfs/fs/uapi"

// Stats is what buffers there are now, and what has come into them since the mount.
type Stats struct {
	Count int   `json:"count"`
	Bytes int64 `json:"bytes"` // registered
	Busy  int   `json:"busy"`  // of the buffers, those that something may be written to
	// Fetched counts the bytes that fills which succeeded have brought, and Resident those
	// of them that were copied on the device.
	Fetched  int64       `json:"fetched_bytes"`
	Resident int64       `json:"resident_bytes"`
	Paths    uapi.ByPath `json:"fetched_by_path"`
}

// Stats tells of the buffers.
func (t *Table) Stats() Stats {
	s := Stats{Fetched: t.fetched.Load(), Resident: t.resident.Load()}
	for i := range t.paths {
		s.Paths[i] = t.paths[i].Load()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s.Count, s.Bytes = len(t.by), t.bytes
	for _, b := range t.by {
		if b.users > 0 {
			s.Busy++
		}
	}
	return s
}
