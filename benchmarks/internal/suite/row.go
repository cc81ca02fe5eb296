// Package suite has the cases that are measured and the targets that they have.
package suite

import "strconv"

// Names of series: the ways in which the same work is done.
const (
	Loop      = "loop"       // the hand-written loop
	Engine    = "engine"     // a worker of funnel
	Metrics   = "metrics"    // a worker with metrics that a registry reads
	ReadAhead = "read-ahead" // a worker that reads ahead
	Parallel  = "parallel"   // a worker with a parallel processor
)

// Row is a comparison of two series, with what it is to show.
type Row struct {
	Case          string // together with X it tells a row from all others
	X             int    // records per batch, unless the case is about another number
	Title         string
	Base, Subject string // series
	Target        Target // of the subject
}

// Rows returns the rows of all cases.
func Rows() []Row {
	var rows []Row
	for _, c := range Cases() {
		rows = append(rows, c.Row)
	}
	for _, w := range WaitingCases() {
		rows = append(rows, w.Row)
	}
	return rows
}

// Headlines returns the few rows that say most, all of which compare the engine to the
// loop.
func Headlines() []Row {
	var headlines []Row
	for _, c := range []struct {
		name string
		x    int
	}{{"linear", 1}, {"linear", usual}, {"processors", 3}, {"split", usual}, {"destinations", 2}} {
		for _, row := range Rows() {
			if row.Case == c.name && row.X == c.x {
				headlines = append(headlines, row)
			}
		}
	}
	return headlines
}

// Growth is the rows of a case that differ in one number.
type Growth struct {
	Title string // what the number is
	Unit  string
	Rows  []Row
}

// Growths returns over what the growth of the cost is shown.
func Growths() []Growth {
	growths := []struct{ name, title, unit string }{
		{"linear", "records per batch", ""},
		{"processors", "processors", ""},
		{"destinations", "destinations", ""},
		{"nacks", "nacked by a destination", " %"},
		{"processor nacks", "nacked by a processor", " %"},
	}
	var all []Growth
	for _, g := range growths {
		growth := Growth{Title: g.title, Unit: g.unit}
		for _, row := range Rows() {
			if row.Case == g.name {
				growth.Rows = append(growth.Rows, row)
			}
		}
		all = append(all, growth)
	}
	return all
}

// Thousands returns a number that is not negative, with separators: 12,345.
func Thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
