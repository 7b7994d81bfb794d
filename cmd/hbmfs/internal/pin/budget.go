package pin

import (
	"encoding/json"
	"fmt"
	"os"

	"hbmfs/cmd/hbmfs/internal/size"
	"hbmfs/fs/client"
)

// budget is what a user's pins have of the memory of a mount's first device, and may
// have.
type budget struct {
	UID  int   `json:"uid"`
	Held int64 `json:"held_bytes"`
	All  int64 `json:"budget_bytes"`

	known bool // Held is: the mount tells of those only who have most
}

// mostTold is of how many users a mount tells.
const mostTold = 64

// budgetOf asks for this user's.
func budgetOf(m *client.Mount) (*budget, error) {
	raw, err := m.Stats()
	if err != nil {
		return nil, err
	}
	var s struct {
		Devices []struct {
			Pins int64 `json:"pin_budget_bytes"`
		}
		Pins struct {
			Users []struct {
				UID, Device int
				Held        int64 `json:"held_bytes"`
			}
		}
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("counters of the mount: %w", err)
	}
	b := &budget{UID: os.Geteuid()}
	if len(s.Devices) > 0 {
		b.All = s.Devices[0].Pins
	}
	b.known = len(s.Pins.Users) < mostTold
	for _, u := range s.Pins.Users {
		if u.UID == b.UID && u.Device == 0 {
			b.Held, b.known = u.Held, true
		}
	}
	return b, nil
}

func (b *budget) String() string {
	return fmt.Sprintf("the pins of uid %d take %s of the %s that they may have, which is half of the pool", b.UID, size.Human(b.Held), size.Human(b.All))
}
