package byname

import (
	"errors"

	"hbmfs/transport"
)

// attempts is how often a file is opened that changes meanwhile.
const attempts = 3

// Newest has get open a file and take something of it, and try again if the file changes
// while it is opened or taken from. The error then wraps [transport.ErrStale] if it
// changes again and again.
func Newest[T any](get func() (T, error)) (got T, err error) {
	for range attempts {
		if got, err = get(); !errors.Is(err, transport.ErrStale) {
			break
		}
	}
	return got, err
}
