//go:build !race

package deepcopy_test

// raceEnabled says that the race detector is on, which makes everything slow.
const raceEnabled = false
