// Quickstart is a whole pipeline over real data: 10,000 reports of aircraft that struck birds. It cleans the reports,
// writes them to two files at the same time, and puts the reports it refuses into a third:
//
//	birdstrikes ── validate ── normalise ──┬── strikes.csv             a row per report
//	                   │                   └── costs ── costs.jsonl    a line per cost
//	             refused.jsonl
//
// This file is the pipeline; connectors.go and processors.go hold its parts.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"log"
	"maps"
	"os"
	"os/signal"
	"slices"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/conduitio/funnel"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("quickstart: ")
	in := flag.String("in", "", "read this CSV `file` instead of the built-in one")
	out := flag.String("out", "out", "write into this `directory`")
	batch := flag.Int("batch", 500, "read this `number` of reports at a time")
	from := flag.Int64("from", 0, "go on at this `byte` of the input and append to the outputs")
	pause := flag.Duration("pause", 0, "rest after every acknowledgement, to have time to watch or to press Ctrl-C")
	flag.Parse()
	if flag.NArg() > 0 {
		log.Fatalf("unexpected argument %q, see -help", flag.Arg(0))
	}
	source, err := openCSV(*in, *batch, *from)
	if err != nil {
		log.Fatal(err)
	}
	// The first Ctrl-C stops the pipeline gracefully, the second one kills the program.
	interrupt, release := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(interrupt, release)

	bar := progressbar.NewOptions64(source.size, progressbar.OptionSetDescription("bird strikes"),
		progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetVisibility(term.IsTerminal(int(os.Stderr.Fd()))))
	source.onAck = func() {
		bar.Set64(source.done)
		select {
		case <-time.After(*pause):
		case <-interrupt.Done():
		}
	}
	result, err := run(interrupt, source, *out)
	bar.Clear()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(result)
}

// run runs the pipeline until its source ends or interrupt is done.
func run(interrupt context.Context, source *csvSource, dir string) (*summary, error) {
	s := &summary{source: source, reasons: map[string]int{}}
	s.strikes = newOutput(dir, "strikes.csv", source.done > 0, strikesCSV)
	s.costs = newOutput(dir, "costs.jsonl", source.done > 0, jsonLines(payload))
	s.refused = newOutput(dir, "refused.jsonl", source.done > 0, jsonLines(s.refusal))

	worker, err := funnel.From("birdstrikes", source).
		Through("validate", funnel.Map(validate)).
		Through("normalise", funnel.Map(normalise)).
		Fork(
			funnel.To("strikes.csv", s.strikes),
			funnel.Through("costs", funnel.Split(s.splitCosts)).To("costs.jsonl", s.costs),
		).
		// More than 50 refused reports among the last 1,000 stop the worker: this is not the input we know.
		DeadLetters("refused.jsonl", s.refused, 1000, 50).
		Worker()
	if err != nil {
		return nil, err
	}
	// Stop lets the batch in flight finish. If it fails, Run tries again.
	ctx := context.WithoutCancel(interrupt)
	context.AfterFunc(interrupt, func() { _ = worker.Stop(ctx) })
	if err := worker.Run(ctx); err != nil {
		return nil, fmt.Errorf("%w (to go on afterwards: -from %d)", err, source.done)
	}
	s.stats = worker.Stats()
	return s, nil
}

// summary is the result of a run. Its parts count on their own, so it proves something that the sums agree.
type summary struct {
	source                  *csvSource
	strikes, costs, refused *output
	reasons                 map[string]int // how many reports were refused for which reason
	added                   int            // how many records were added by splitting
	stats                   funnel.Stats
}

func (s *summary) String() string {
	text := fmt.Sprintf("%6d reports read\n%6d refused, in %s\n", s.stats.Acked, s.refused.written, s.refused.path)
	byCount := func(x, y string) int { return cmp.Or(s.reasons[y]-s.reasons[x], cmp.Compare(x, y)) }
	for _, reason := range slices.SortedFunc(maps.Keys(s.reasons), byCount) {
		text += fmt.Sprintf("%13d %s\n", s.reasons[reason], reason)
	}
	text += fmt.Sprintf("%6d strikes, in %s = %d read - %d refused\n",
		s.strikes.written, s.strikes.path, s.stats.Acked, s.refused.written)
	text += fmt.Sprintf("%6d costs, in %s = %d strikes - %d filtered, without costs + %d more by splitting\n",
		s.costs.written, s.costs.path, s.strikes.written, s.stats.Filtered, s.added)
	if s.source.done < s.source.read || !s.source.isAtEnd {
		text += fmt.Sprintf("Stopped before the end. To go on: -from %d\n", s.source.done)
	}
	return text
}
