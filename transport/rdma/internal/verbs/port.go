//go:build linux && cgo

package verbs

import "math/bits"

// mtuBytes decodes enum ibv_mtu: 1 is 256 bytes, 5 is 4096; 0 of anything else.
func mtuBytes(code uint8) int {
	if code < 1 || code > 5 {
		return 0
	}
	return 128 << code
}

// mtuCode is the inverse of mtuBytes.
func mtuCode(bytes int) (uint8, bool) {
	for code := range uint8(6) {
		if mtuBytes(code) == bytes {
			return code, true
		}
	}
	return 0, false
}

func linkLayer(code uint8) string {
	switch code {
	case 1:
		return "InfiniBand"
	case 2:
		return "Ethernet"
	}
	return "unspecified"
}

// Lanes by active_width, and megabits per second of a lane by active_speed:
// both are sets of which one bit is given (IBA 1.4, PortInfo).
var (
	laneCounts = []uint64{1, 4, 8, 12, 2}
	laneSpeeds = []uint64{2500, 5000, 10000, 10000, 14000, 25000, 50000, 100000}
)

// portSpeed returns bits per second, 0 if it can't tell.
func portSpeed(width, speed uint8) uint64 {
	return oneBit(laneCounts, width) * oneBit(laneSpeeds, speed) * 1e6
}

// oneBit returns the value of the one bit set in code, 0 of any other code.
func oneBit(values []uint64, code uint8) uint64 {
	bit := bits.TrailingZeros8(code)
	if bits.OnesCount8(code) != 1 || bit >= len(values) {
		return 0
	}
	return values[bit]
}
