package cache

import (
	"cmp"
	"slices"
)

// Pins says what is pinned now.
type Pins struct {
	Files    int   `json:"files"`     // versions, once for each user and device
	MaxFiles int64 `json:"max_files"` // that there may be
	Extents  int   `json:"extents"`
	Bytes    int64 `json:"bytes"`
	Held     int64 `json:"held_bytes"` // of memory
	// Users are those who hold most, at most [MaxPinUsers], and what each has on a
	// device.
	Users []UserPins `json:"users"`
}

// UserPins says what a user has pinned on a device.
type UserPins struct {
	UID        uint32 `json:"uid"`
	Device     uint32 `json:"device"`
	Files      int    `json:"files"`
	Extents    int    `json:"extents"`
	MaxExtents int    `json:"max_extents"` // that there may be
	Bytes      int64  `json:"bytes"`
	Held       int64  `json:"held_bytes"`
	Budget     int64  `json:"budget_bytes"` // that Held may reach
}

// MaxPinUsers is how many [Pins] lists.
const MaxPinUsers = 64

// Pins tells what is pinned at one moment.
func (c *Cache) Pins() Pins {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Pins{MaxFiles: c.pinFiles.All}
	for _, p := range c.pools {
		if p.open && !p.isRevoked() {
			s.add(p)
		}
	}
	s.rank()
	return s
}

// add counts a pool's. With mu.
func (s *Pins) add(p *pool) {
	u := UserPins{
		UID: p.dom.UID, Device: p.dom.Device, Files: p.pins.files, Extents: p.pins.all.Len(), MaxExtents: maxPins,
		Bytes: p.pins.bytes, Held: p.memory.PinnedBytes(), Budget: p.memory.PinBudget(),
	}
	if u.Extents == 0 {
		return
	}
	s.Files += u.Files
	s.Extents += u.Extents
	s.Bytes += u.Bytes
	s.Held += u.Held
	s.Users = append(s.Users, u)
}

// rank puts who holds most first, and cuts the list.
func (s *Pins) rank() {
	slices.SortFunc(s.Users, func(a, b UserPins) int {
		return cmp.Or(cmp.Compare(b.Held, a.Held), cmp.Compare(a.UID, b.UID), cmp.Compare(a.Device, b.Device))
	})
	s.Users = s.Users[:min(len(s.Users), MaxPinUsers)]
}
