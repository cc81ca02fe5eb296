package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/conduitio/funnel/benchmarks/internal/report"
)

// files are what render reads and writes.
type files struct {
	funnel   string // our results
	peers    string // those of the peers, which may be missing
	tables   string // a document that gets all tables
	headline string // a document that gets the short one
	plot     string
}

// render puts the tables of the results into the documents, and draws the plot. The
// same results give the same bytes.
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
		replace(f.tables, report.Tables(results)),
		replace(f.headline, report.Headlines(results)),
		os.WriteFile(f.plot, plot, 0o644),
	)
}

// replace puts text into the place that a document has for it.
func replace(file, text string) error {
	document, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if document, err = report.Replace(document, text); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, document, 0o644)
}
