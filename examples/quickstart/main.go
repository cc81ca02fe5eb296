// Quickstart is a whole pipeline over real data: 10,000 reports of aircraft that struck birds. It cleans the reports,
// writes them to two files at the same time, and puts the reports it refuses into a third:
//
//	birdstrikes ── validate ── normalise ──┬── strikes.csv             a row per report
//	                   │                   └── costs ── costs.jsonl    a line per cost
//	             refused.jsonl
//
// It keeps its position in the directory positions: interrupt it or kill it, run it again, and it continues there.
// This file is the pipeline, processors.go holds its parts, and summary.go counts and prints what it has done.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector/file"
	"github.com/conduitio/funnel/position"
)

//go:embed data/birdstrikes.csv
var sample []byte

func main() {
	log.SetFlags(0)
	log.SetPrefix("quickstart: ")
	in := flag.String("in", "", "read this CSV `file` instead of the built-in one")
	out := flag.String("out", "out", "write into this `directory`, and continue if it holds an unfinished run")
	batch := flag.Int("batch", 500, "read at most this `number` of reports at a time")
	pause := flag.Duration("pause", 0, "pause after every ack, to have time to watch or to press Ctrl-C")
	flag.Parse()
	if flag.NArg() > 0 {
		log.Fatalf("unexpected argument %q, see -help", flag.Arg(0))
	}
	// The first Ctrl-C stops the pipeline gracefully, the second one kills the program.
	interrupt, release := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(interrupt, release)

	bar := progressbar.NewOptions64(1, progressbar.OptionSetDescription("bird strikes"),
		progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetVisibility(term.IsTerminal(int(os.Stderr.Fd()))))
	result, err := run(interrupt, *in, *out, *batch, func(done, size int64) {
		bar.ChangeMax64(size)
		bar.Set64(done)
		select {
		case <-time.After(*pause):
		case <-interrupt.Done():
		}
	})
	bar.Clear()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(result)
}

// run runs the pipeline until its source ends or interrupt is done. It calls onAck with the bytes that are done.
func run(interrupt context.Context, in, dir string, batch int, onAck func(done, size int64)) (*summary, error) {
	store, err := position.NewFiles(filepath.Join(dir, "positions"))
	if err != nil {
		return nil, err
	}
	if in == "" { // the built-in reports become a file, too
		in = filepath.Join(dir, "birdstrikes.csv")
		if err := os.WriteFile(in, sample, 0o644); err != nil {
			return nil, err
		}
	}
	s := &summary{dir: dir, reasons: map[string]int{}, onAck: onAck}
	source := position.Track("birdstrikes", store, func(from opencdc.Position) (_ funnel.Source, err error) {
		s.from = from
		s.source, err = file.NewSource(in, file.CSV, from, file.WithBatch(batch, 1<<20))
		return s.source, err
	})
	strikes, err1 := file.NewDestination(filepath.Join(dir, "strikes.csv"), file.CSV, file.WithColumns(strikeColumns...))
	costs, err2 := file.NewDestination(filepath.Join(dir, "costs.jsonl"), file.JSONLines)
	refused, err3 := file.NewDestination(filepath.Join(dir, "refused.jsonl"), file.Records)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}

	worker, err := funnel.From("birdstrikes", source).
		Through("validate", funnel.Map(validate)).
		Through("normalise", funnel.Map(normalise)).
		Fork(
			funnel.To("strikes.csv", s.count(&s.strikes, strikes)),
			funnel.Through("costs", funnel.Split(s.splitCosts)).To("costs.jsonl", s.count(&s.costs, costs)),
		).
		// More than 50 refused reports among the last 1,000 stop the worker: this is not the input we know.
		DeadLetters("refused.jsonl", s.count(&s.refused, refused), 1000, 50).
		Options(funnel.WithObserver(s)).
		Worker()
	if err != nil {
		return nil, err
	}
	// Stop lets the batch in flight finish. If it fails, Run tries again.
	ctx := context.WithoutCancel(interrupt)
	context.AfterFunc(interrupt, func() { _ = worker.Stop(ctx) })
	if err := worker.Run(ctx); err != nil {
		return nil, fmt.Errorf("%w (run it again to go on)", err)
	}
	s.stats = worker.Stats()
	return s, nil
}
