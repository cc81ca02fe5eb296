//go:build race

package ledger_test

// raceEnabled says that the race detector is on, which makes everything slow.
const raceEnabled = true
