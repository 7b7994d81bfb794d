package transport

import (
	"crypto/tls"
	"fmt"
)

// CheckClear decides, for either end of a session, whether transports that never
// encrypt may be used: where there is no TLS, or where it was allowed all the same.
// The error wraps [ErrUnavailable].
func CheckClear(tlsConfig *tls.Config, allowed bool) error {
	if tlsConfig == nil || allowed {
		return nil
	}
	return fmt.Errorf("%w: TLS is asked for, and this transport carries payload in clear; allow that with --data-plaintext", ErrUnavailable)
}
