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
	funnel string // our results
	peers  string // those of the peers, which may be missing
	readme string // gets the tables
	plot   string
}

// render puts the tables of the results into the readme, and draws the plot. The
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
	document, err := os.ReadFile(f.readme)
	if err != nil {
		return err
	}
	document, err = report.Replace(document, report.Tables(results))
	if err != nil {
		return fmt.Errorf("%s: %w", f.readme, err)
	}
	plot, err := report.Plot(results.Points)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(f.readme, document, 0o644), os.WriteFile(f.plot, plot, 0o644))
}
