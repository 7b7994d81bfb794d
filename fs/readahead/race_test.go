//go:build race

package readahead

// raceEnabled: the detector makes pools forget on purpose.
const raceEnabled = true
