// Quickstart is a whole pipeline over real data: 10,000 reports of aircraft that struck
// birds. It cleans the reports, writes them to two files at the same time, and puts the
// reports it refuses into a third:
//
//	birdstrikes ── validate ── normalise ──┬── strikes.csv             a row per report
//	                   │                   └── costs ── costs.jsonl    a line per cost
//	             refused.jsonl
//
// This file is the pipeline; source.go, processors.go and destination.go hold its
// parts.
package main

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/log"
)

//go:embed data/birdstrikes.csv
var sample embed.FS

func main() {
	in := flag.String("in", "", "read this CSV `file` instead of the built-in one")
	out := flag.String("out", "out", "write into this `directory`")
	batch := flag.Int("batch", 500, "read this `number` of reports at a time")
	from := flag.Int64("from", 0, "go on at this `byte` of the input and append to the outputs")
	pause := flag.Duration("pause", 0, "rest after every acknowledgement, to have time to watch or to press Ctrl-C")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "quickstart: unexpected argument %q, see -help\n", flag.Arg(0))
		os.Exit(1)
	}

	// The first Ctrl-C stops the pipeline gracefully, the second one kills the program.
	interrupt, release := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(interrupt, release)

	bar := progressbar.NewOptions64(1,
		progressbar.OptionSetWriter(os.Stderr),
		progressbar.OptionSetVisibility(term.IsTerminal(int(os.Stderr.Fd()))),
		progressbar.OptionSetDescription("bird strikes"),
	)
	result, err := run(interrupt, options{
		open: func() (fs.File, error) {
			if *in == "" {
				return sample.Open("data/birdstrikes.csv")
			}
			return os.Open(*in)
		},
		from:  *from,
		batch: *batch,
		out:   *out,
		onAck: func(done, size int64) {
			bar.ChangeMax64(size)
			bar.Set64(done)
			select {
			case <-time.After(*pause):
			case <-interrupt.Done():
			}
		},
	})
	bar.Clear()
	if err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
	fmt.Print(result)
}

// options are the inputs of run.
type options struct {
	open  func() (fs.File, error) // opens the input
	from  int64                   // the byte of the input to begin at
	batch int                     // reports per read
	out   string                  // the directory of the outputs
	onAck func(done, size int64)  // called with how many bytes of the input are done
}

// run runs the pipeline until its input ends or interrupt is done.
func run(interrupt context.Context, opts options) (*summary, error) {
	if opts.batch < 1 {
		return nil, errors.New("a batch has at least one report")
	}
	file := func(name string, format format) *fileDestination {
		return &fileDestination{path: filepath.Join(opts.out, name), resume: opts.from > 0, format: format}
	}
	reasons := map[string]int{}
	source := &csvSource{open: opts.open, from: opts.from, batch: opts.batch, onAck: opts.onAck}
	split := &processor{handle: splitCosts}
	strikesFile := file("strikes.csv", csvFormat(strikeColumns))
	costsFile := file("costs.jsonl", jsonFormat(payload))
	refusedFile := file("refused.jsonl", jsonFormat(func(rec opencdc.Record) any {
		r := newRefusal(rec)
		reasons[r.Reason]++
		return r
	}))

	// The tasks form a tree: a task with two next tasks sends every batch to both at
	// the same time. Each task takes a logger, here a silent one, and metrics, here
	// none.
	logger := log.Nop()
	pipeline := &funnel.TaskNode{
		Task: funnel.NewSourceTask("birdstrikes", source, logger, nil),
		Next: []*funnel.TaskNode{{
			Task: funnel.NewProcessorTask("validate", &processor{handle: validate}, logger, nil),
			Next: []*funnel.TaskNode{{
				Task: funnel.NewProcessorTask("normalise", &processor{handle: normalise}, logger, nil),
				Next: []*funnel.TaskNode{{
					Task: funnel.NewDestinationTask("strikes.csv", strikesFile, logger, nil),
				}, {
					Task: funnel.NewProcessorTask("costs", split, logger, nil),
					Next: []*funnel.TaskNode{{
						Task: funnel.NewDestinationTask("costs.jsonl", costsFile, logger, nil),
					}},
				}},
			}},
		}},
	}
	// Refused reports go to the dead-letter queue. More than 50 among the last 1,000
	// mean that this is not the input we know, and the worker stops.
	dlq := funnel.NewDLQ("refused.jsonl", refusedFile, logger, nil, 1000, 50)

	worker, err := funnel.NewWorker(pipeline, dlq, logger, nil)
	if err != nil {
		return nil, err
	}
	// Stop lets the batch in flight finish. If it fails, Close tries again.
	ctx := context.WithoutCancel(interrupt)
	context.AfterFunc(interrupt, func() { _ = worker.Stop(ctx) })

	if err := worker.Open(ctx); err != nil {
		return nil, err
	}
	if err := errors.Join(worker.Do(ctx), worker.Close(ctx)); err != nil {
		return nil, fmt.Errorf("%w (to go on afterwards: -from %d)", err, source.position)
	}
	return &summary{source, split, strikesFile, costsFile, refusedFile, reasons}, nil
}

// summary is the result of a run. Source, processor and destinations count on their
// own, so it proves something that the sums agree.
type summary struct {
	source                  *csvSource
	split                   *processor
	strikes, costs, refused *fileDestination
	reasons                 map[string]int
}

func (s *summary) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%6d reports read\n", s.source.acked)
	fmt.Fprintf(&b, "%6d refused, in %s\n", s.refused.written, s.refused.path)
	byCount := func(x, y string) int { return cmp.Or(s.reasons[y]-s.reasons[x], strings.Compare(x, y)) }
	for _, reason := range slices.SortedFunc(maps.Keys(s.reasons), byCount) {
		fmt.Fprintf(&b, "%13d %s\n", s.reasons[reason], reason)
	}
	fmt.Fprintf(&b, "%6d strikes, in %s = %d read - %d refused\n",
		s.strikes.written, s.strikes.path, s.source.acked, s.refused.written)
	fmt.Fprintf(&b, "%6d costs, in %s = %d strikes - %d filtered, without costs + %d more by splitting\n",
		s.costs.written, s.costs.path, s.strikes.written, s.split.filtered, s.split.added)
	if !s.source.done() {
		fmt.Fprintf(&b, "Stopped before the end. To go on: -from %d\n", s.source.position)
	}
	return b.String()
}
