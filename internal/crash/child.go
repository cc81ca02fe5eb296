package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector/file"
	"github.com/conduitio/funnel/internal/clock"
	"github.com/conduitio/funnel/log"
	"github.com/conduitio/funnel/position"
)

// The child is this program with childVariable in its environment. It prints childReady
// before it begins to read, and exits with one of the codes.
const (
	childVariable = "FUNNEL_CRASH_CHILD"
	childReady    = "ready"

	codeDone    = 0
	codeFailed  = 1
	codeInjured = 3 // failed because of a fault of the plan
)

var errInjected = errors.New("injected fault")

// childArguments say which life, and which of its runs, a child is for.
type childArguments struct {
	dir  string
	seed uint64
	run  uint64
}

func (a childArguments) String() string { return fmt.Sprintf("%d %d %s", a.seed, a.run, a.dir) }

func childArgs() (a childArguments, ok bool) {
	text, ok := os.LookupEnv(childVariable)
	if !ok {
		return a, false
	}
	_, err := fmt.Sscanf(text, "%d %d", &a.seed, &a.run)
	if parts := strings.SplitN(text, " ", 3); err == nil && len(parts) == 3 {
		a.dir = parts[2]
	}
	return a, true
}

// runChild runs the pipeline of a life until the input is done or something fails, and
// returns the exit code.
func runChild(args childArguments) int {
	c := &child{
		plan:    newPlan(args.seed),
		dir:     args.dir,
		rng:     rand.New(rand.NewPCG(args.seed, args.run)),
		isReady: func() { fmt.Println(childReady) },
	}
	err := c.run(clock.With(context.Background(), jumpingClock(rand.New(rand.NewPCG(args.seed, ^args.run)))))
	if err == nil {
		return codeDone
	}
	fmt.Fprintln(os.Stderr, err)
	if c.plan.isInjected(err) {
		return codeInjured
	}
	return codeFailed
}

// isInjected returns true if an error is a consequence of a fault of the plan.
func (p plan) isInjected(err error) bool {
	return p.failingStore && errors.Is(err, errInjected) || p.limitedFiles && isFileTooLarge(err) || p.fullDisk && isDiskFull(err)
}

type child struct {
	plan  plan
	dir   string
	rng   *rand.Rand
	store position.Store

	isReady func() // called before reading begins
}

// run runs a worker with two branches, or two workers that share these branches as a sink.
func (c *child) run(ctx context.Context) (err error) {
	if err := c.limitFiles(); err != nil {
		return err
	}
	store, closeStore, err := c.plan.openStore(c.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeStore()) }()
	if c.plan.failingStore {
		store = &failingStore{Store: store, rng: c.rng, left: c.rng.IntN(200)}
	}
	c.store = store
	a, err := c.destination(destinationA, "{{name}}", file.JSONLines)
	if err != nil {
		return err
	}
	b, err := c.destination(destinationB, "{{name}}", file.JSONLines)
	if err != nil {
		return err
	}
	checkPieces := funnel.ProcessorFunc(c.checkPiece)
	if c.plan.sources == 1 {
		p, err := c.pipeline(0)
		if err != nil {
			return err
		}
		c.isReady()
		return p.Fork(funnel.To("a", a), funnel.Through("check pieces", checkPieces).To("b", b)).Run(ctx)
	}

	toB := &funnel.TaskNode{Task: funnel.NewProcessorTask("check pieces", checkPieces, log.Nop(), nil)}
	if err := toB.AppendToEnd(&funnel.TaskNode{Task: funnel.NewDestinationTask("b", b, log.Nop(), nil)}); err != nil {
		return err
	}
	sink, err := funnel.NewSink(&funnel.TaskNode{Task: funnel.NewDestinationTask("a", a, log.Nop(), nil)}, toB)
	if err != nil {
		return err
	}
	workers := make([]*funnel.Worker, c.plan.sources)
	for source := range workers {
		p, err := c.pipeline(source)
		if err != nil {
			return err
		}
		if workers[source], err = p.Into(sink).Worker(); err != nil {
			return err
		}
	}
	if err := sink.Open(ctx); err != nil {
		return err
	}
	c.isReady()
	errs := make([]error, len(workers))
	var running sync.WaitGroup
	for i, w := range workers {
		running.Go(func() { errs[i] = w.Run(ctx) })
	}
	running.Wait()
	return errors.Join(append(errs, sink.Close(ctx))...)
}

// destination returns a destination. name is its placeholder for the name of a record.
func (c *child) destination(destination, name string, format file.Format) (*file.Destination, error) {
	return file.NewDestination(filepath.Join(c.dir, c.plan.outputPath(destination, name)), format, c.plan.destinationOptions()...)
}

// pipeline describes the part of the pipeline from a source to the split of its records.
func (c *child) pipeline(source int) (*funnel.Pipeline, error) {
	var opts []position.TrackOption
	if c.plan.coalesced {
		opts = append(opts, position.WithCoalescing(1+c.rng.IntN(200), time.Duration(1+c.rng.IntN(20))*time.Millisecond))
	}
	tracked := position.Track(sourceID(source), c.store, func(from opencdc.Position) (funnel.Source, error) {
		return file.NewSource(inputDir(c.dir, source), file.JSONLines, from, file.WithBatch(c.plan.batch, 1<<20))
	}, opts...)
	queue, err := c.destination(queueOf(source), "{{payload.after.name}}", file.Records)
	if err != nil {
		return nil, err
	}

	var options []funnel.WorkerOption
	if c.plan.readAhead > 0 {
		options = append(options, funnel.WithReadAhead(c.plan.readAhead))
	}
	if c.plan.wholeBatches {
		options = append(options, funnel.WithWholeBatches())
	}
	asked := map[int]bool{} // the records that check has left unanswered once
	check := func(_ context.Context, r opencdc.Record) sdk.ProcessedRecord {
		id := intOf(r, "id")
		f := c.plan.fate(source, id)
		switch {
		case f.retried && !asked[id]:
			asked[id] = true
			return nil
		case f.refused:
			return sdk.ErrorRecord{Error: errRefused}
		case f.filtered:
			return sdk.FilterRecord{}
		}
		return sdk.SingleRecord(r)
	}
	split := func(r opencdc.Record) ([]opencdc.Record, error) {
		pieces := make([]opencdc.Record, c.plan.fate(source, intOf(r, "id")).pieces)
		if len(pieces) == 1 {
			return []opencdc.Record{r}, nil
		}
		for i := range pieces {
			pieces[i] = r
			data := maps.Clone(r.Payload.After.(opencdc.StructuredData))
			data["piece"] = i
			pieces[i].Payload.After = data
		}
		return pieces, nil
	}
	return funnel.From(sourceID(source), tracked).
		Through("check", funnel.ProcessorFunc(check)).
		Through("split", funnel.Split(split)).
		DeadLetters("queue", queue, 0, 0).
		Options(options...), nil
}

// errRefused is the reason of all dead letters.
var errRefused = errors.New("refused by the plan")

// checkPiece refuses the bad pieces.
func (c *child) checkPiece(_ context.Context, r opencdc.Record) sdk.ProcessedRecord {
	f := c.plan.fate(intOf(r, "source"), intOf(r, "id"))
	if f.bad >= 0 && (f.pieces == 1 || f.bad == intOf(r, "piece")) {
		return sdk.ErrorRecord{Error: errRefused}
	}
	return sdk.SingleRecord(r)
}

// intOf returns an integer field of a record's data.
func intOf(r opencdc.Record, field string) int {
	switch n := r.Payload.After.(opencdc.StructuredData)[field].(type) {
	case int64:
		return int(n)
	case int:
		return n
	default:
		panic(fmt.Sprintf("field %q of a record is %#v, want an integer", field, n))
	}
}

// limitFiles makes the writes of some runs fail when a file gets large.
func (c *child) limitFiles() error {
	if !c.plan.limitedFiles || c.rng.IntN(2) == 0 {
		return nil
	}
	return limitFileSize(uint64(c.rng.IntN(200 << 10)))
}
