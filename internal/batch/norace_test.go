//go:build !race

package batch

// raceEnabled says that the race detector is on: everything is slow then, and a sync.Pool
// forgets things.
const raceEnabled = false
