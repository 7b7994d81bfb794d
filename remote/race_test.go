//go:build race

package remote_test

// raceEnabled: the detector makes pools forget on purpose.
const raceEnabled = true
