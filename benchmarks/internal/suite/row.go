// Package suite defines the cases to measure and their targets.
package suite

import "strconv"

// Names of series: ways to do the same work.
const (
	Loop         = "loop"          // the hand-written loop
	Engine       = "engine"        // a worker of funnel
	Metrics      = "metrics"       // a worker with metrics that a registry reads
	Prometheus   = "prometheus"    // a worker whose metrics, events and stats go to Prometheus
	ReadAhead    = "read-ahead"    // a worker that reads ahead
	Parallel     = "parallel"      // a worker with a parallel processor
	WholeBatches = "whole batches" // a worker whose batches stay whole
	Observer     = "observer"      // a worker with an observer that does nothing
	Stats        = "stats"         // a worker that knows since when a task has the batch
	Traces       = "traces"        // a worker with an observer that traces
	SampledOut   = "sampled out"   // the same, but no batch is sampled
	Everything   = "everything"    // a worker that is supervised, logged, measured and traced
	Lanes        = "lanes"         // a worker with a partitioned destination
	Sink         = "sink"          // workers whose destinations are a sink
)

// Row is a comparison of two series, with its target.
type Row struct {
	Case          string // unique together with X
	X             int    // records per batch, or the number that the case varies
	Title         string
	Base, Subject string // series
	Target        Target // for the subject
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

// Headlines returns the most telling rows, all of which compare the engine to the loop.
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

// Growth has the rows of a case that differ in one number.
type Growth struct {
	Title string // names the number
	Unit  string
	Rows  []Row
}

// Growths returns the growths to show.
func Growths() []Growth {
	growths := []struct{ name, title, unit string }{
		{"linear", "records per batch", ""},
		{"processors", "processors", ""},
		{"destinations", "destinations", ""},
		{"nacks", "nacked by a destination", " %"},
		{"processor nacks", "nacked by a processor", " %"},
		{"nacks, whole batches", "nacked by a destination, whole batches", " %"},
		{"processor nacks, whole batches", "nacked by a processor, whole batches", " %"},
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

// Thousands formats a number that is not negative with separators: 12,345.
func Thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
