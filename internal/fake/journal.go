package fake

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
)

// Journal lists the calls of the fakes of a test, in order, a line per call. The
// first word of a line says what was called. The others are positions or, if a
// connector was opened or torn down, its name. Any number of goroutines may use a
// Journal.
type Journal struct {
	mu    sync.Mutex
	lines []string
}

// Add adds a line.
func (j *Journal) Add(words ...string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, strings.Join(words, " "))
}

// AddRecords adds a line with the positions of the records.
func (j *Journal) AddRecords(word string, recs []opencdc.Record) {
	j.Add(append([]string{word}, Positions(recs)...)...)
}

// Clear removes all lines.
func (j *Journal) Clear() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = nil
}

// Lines returns the lines that start with one of the words, which are separated by
// spaces, or every line if there are no words.
func (j *Journal) Lines(words string) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	first := strings.Fields(words)
	var lines []string
	for _, line := range j.lines {
		if len(first) == 0 || slices.Contains(first, strings.Fields(line)[0]) {
			lines = append(lines, line)
		}
	}
	return lines
}

// Want fails the test if the lines that Lines returns for the words differ from
// want.
func (j *Journal) Want(t testing.TB, words string, want ...string) {
	t.Helper()
	WantLines(t, j.Lines(words), want...)
}

// Given returns all positions in the lines that start with the word: the records
// that a connector was given, however they were batched.
func (j *Journal) Given(word string) string {
	var positions []string
	for _, line := range j.Lines(word) {
		positions = append(positions, strings.Fields(line)[1:]...)
	}
	return strings.Join(positions, " ")
}

// WantGiven fails the test unless the destinations "out" and "dlq" were given these
// records, and the source these acks.
func (j *Journal) WantGiven(t testing.TB, out, dlq, ack string) {
	t.Helper()
	for _, c := range [][2]string{{"out", out}, {"dlq", dlq}, {"ack", ack}} {
		if got := j.Given(c[0]); got != c[1] {
			t.Errorf("%s: %s, want %s", c[0], got, c[1])
		}
	}
}
