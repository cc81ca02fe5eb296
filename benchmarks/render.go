package main

import (
	"errors"
	"io/fs"
	"os"

	"github.com/conduitio/funnel/benchmarks/internal/report"
)

// files are what render reads and writes.
type files struct {
	funnel   string // results of the engine and the loop
	peers    string // results of the peers; may be missing
	tables   string // the document with all tables
	headline string // the document with the short table
	plot     string
}

// render puts the tables into the documents and draws the plot. The same results give
// the same bytes.
func render(f files) error {
	results, err := report.Load(f.funnel)
	if err != nil {
		return err
	}
	switch peers, err := report.Load(f.peers); {
	case err == nil:
		results.Points = append(results.Points, peers.Points...)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	plot, err := report.Plot(results.Points)
	if err != nil {
		return err
	}
	return errors.Join(
		report.Replace(f.tables, "benchmarks", report.Tables(results)),
		report.Replace(f.headline, "benchmarks", report.Headlines(results)),
		os.WriteFile(f.plot, plot, 0o644),
	)
}
