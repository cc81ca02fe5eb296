//go:build !race

package batch

// raceEnabled says that the race detector is on, which makes everything slow, and a
// sync.Pool forget things.
const raceEnabled = false
