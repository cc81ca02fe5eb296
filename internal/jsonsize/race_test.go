//go:build race

package jsonsize_test

// raceEnabled says that the race detector is on, which makes everything slow.
const raceEnabled = true
