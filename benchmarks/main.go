// Benchmarks compares the engine with a hand-written loop, prints a table of the costs
// and writes them to results/funnel.json. README.md in this directory says how it
// measures.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"

	"github.com/conduitio/funnel/benchmarks/internal/measure"
	"github.com/conduitio/funnel/benchmarks/internal/report"
	"github.com/conduitio/funnel/benchmarks/internal/suite"
)

//go:generate go run . -render

const resultsFile = "results/funnel.json"

func main() {
	quick := flag.Bool("quick", false, "measure with few rounds and write nothing")
	only := flag.String("case", "", "measure only what matches this `regexp`, and write nothing")
	rendering := flag.Bool("render", false, "measure nothing: put the tables of the results into README.md and ../README.md and draw results/cost.svg")
	flag.Parse()
	if err := run(*quick, *only, *rendering); err != nil {
		fmt.Fprintln(os.Stderr, "benchmarks:", err)
		os.Exit(1)
	}
}

func run(quick bool, only string, rendering bool) error {
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q, see -help", flag.Arg(0))
	}
	if rendering {
		return render(files{
			funnel:   resultsFile,
			peers:    "results/peers.json",
			tables:   "README.md",
			headline: "../README.md",
			plot:     "results/cost.svg",
		})
	}
	pattern, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	effort := measure.Full()
	if quick {
		effort = measure.Quick()
	}
	results, err := measureAll(context.Background(), effort, pattern)
	if err != nil {
		return err
	}
	fmt.Print(report.Tables(results))
	if quick || only != "" {
		return nil
	}
	return results.Save(resultsFile)
}

// measureAll measures the cases whose name or title matches the pattern.
func measureAll(ctx context.Context, effort measure.Effort, pattern *regexp.Regexp) (*report.Results, error) {
	results := report.NewResults()
	add := func(row suite.Row, measure func(context.Context, measure.Effort) (measure.Comparison, error)) error {
		if !pattern.MatchString(row.Case) && !pattern.MatchString(row.Title) {
			return nil
		}
		fmt.Fprintln(os.Stderr, "measuring:", row.Title)
		c, err := measure(ctx, effort)
		if err != nil {
			return fmt.Errorf("%s: %w", row.Title, err)
		}
		results.Add(row, c)
		return nil
	}
	for _, c := range suite.Cases() {
		if err := add(c.Row, c.Measure); err != nil {
			return nil, err
		}
	}
	for _, w := range suite.WaitingCases() {
		if err := add(w.Row, w.Measure); err != nil {
			return nil, err
		}
	}
	if !pattern.MatchString(suite.MemoryCase) {
		return results, nil
	}
	bytes, err := suite.Memory(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", suite.MemoryCase, err)
	}
	for i, n := range suite.MemoryBatches {
		results.AddBytes(suite.MemoryCase, n, bytes[i])
	}
	return results, nil
}
