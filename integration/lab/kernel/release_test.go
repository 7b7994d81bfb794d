package kernel

import (
	"errors"
	"strings"
	"testing"
)

const found = `linux-image-7.2.11+deb13-amd64 - Linux 7.2.11 for 64-bit PCs
linux-image-7.2.9+deb13-amd64 - Linux 7.2.9 for 64-bit PCs
linux-image-7.3.4+deb13-amd64 - Linux 7.3.4 for 64-bit PCs
linux-image-6.12.117+deb13-amd64 - Linux 6.12 for 64-bit PCs
`

func TestNewest(t *testing.T) {
	for release, want := range map[string]string{
		"7.2":  "linux-image-7.2.11+deb13-amd64",
		"7.3":  "linux-image-7.3.4+deb13-amd64",
		"6.12": "linux-image-6.12.117+deb13-amd64",
	} {
		if got, err := newest(found, release); err != nil || got != want {
			t.Errorf("%s: %q, %v", release, got, err)
		}
	}
	if got, err := newest(found, "7"); !errors.Is(err, errPackage) || !strings.Contains(err.Error(), "6.12, 7.2, 7.3") {
		t.Errorf("%q, %v", got, err)
	}
}
