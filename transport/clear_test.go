package transport_test

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"

	"hbmfs/transport"
)

func TestCheckClear(t *testing.T) {
	if err := errors.Join(transport.CheckClear(nil, false), transport.CheckClear(nil, true), transport.CheckClear(&tls.Config{}, true)); err != nil {
		t.Error(err)
	}
	err := transport.CheckClear(&tls.Config{}, false)
	if !errors.Is(err, transport.ErrUnavailable) || !strings.Contains(err.Error(), "--data-plaintext") {
		t.Errorf("TLS, and nothing allowed: %v", err)
	}
}
