package suite

import (
	"context"
	"fmt"
	"time"

	"github.com/conduitio/funnel"

	"github.com/conduitio/funnel/benchmarks/internal/fake"
	"github.com/conduitio/funnel/benchmarks/internal/measure"
	"github.com/conduitio/funnel/benchmarks/internal/pipeline"
)

// Waiting is a row whose pipelines spend their time waiting. The subject gets
// more records than the base, so that it runs for a while, too.
type Waiting struct {
	Row
	Jobs [2]measure.Job // of the base, of the subject
}

// Measure compares the two series, per record.
func (w *Waiting) Measure(ctx context.Context, effort measure.Effort) (measure.Comparison, error) {
	return measure.CompareJobs(ctx, w.Jobs[0], w.Jobs[1], effort.Runs)
}

const (
	// call is how long connectors take per call.
	call = time.Millisecond
	// ahead is how many records are read ahead.
	ahead = 1_000
	// lookup is how long a processor takes per record, and workers how many
	// records it processes at a time.
	lookup  = 2 * time.Millisecond
	workers = 16
)

// WaitingCases returns the cases in which reading ahead or parallel processors
// are to help, compared to the engine without them.
func WaitingCases() []Waiting {
	return []Waiting{
		{
			Row: Row{
				Case: "read-ahead, slow connectors", X: 10, Title: "read-ahead, source and destination of 1 ms per call",
				Base: Engine, Subject: ReadAhead, Target: Target{Speedup: 1.8},
			},
			Jobs: [2]measure.Job{
				moving(1_000, 10, call, nil),
				moving(1_000, 10, call, []funnel.WorkerOption{funnel.WithReadAhead(ahead)}),
			},
		},
		{
			Row: Row{
				Case: "read-ahead, single records", X: 1, Title: "read-ahead, single records to a destination of 1 ms per call",
				Base: Engine, Subject: ReadAhead, Target: Target{Speedup: 20},
			},
			Jobs: [2]measure.Job{
				moving(100, 1, 0, nil),
				moving(5_000, 1, 0, []funnel.WorkerOption{funnel.WithReadAhead(ahead)}),
			},
		},
		{
			Row: Row{
				Case: "parallel", X: 1_000, Title: "parallel processor of 2 ms per record, 16 workers",
				Base: Engine, Subject: Parallel, Target: Target{Speedup: 14},
			},
			Jobs: [2]measure.Job{processing(50, 1), processing(1_000, workers)},
		},
	}
}

// moving returns a job of so many records in batches of that size, from a source
// that takes that long per batch to a destination that takes its time.
func moving(records, size int, read time.Duration, options []funnel.WorkerOption) measure.Job {
	return measure.Job{Records: records, Prepare: func() (func(context.Context) error, error) {
		source := fake.NewWaitingSource(records, size, read)
		return running(pipeline.Engine{Options: options}, source, nil, fake.NewWaitingDestination(call)), nil
	}}
}

// processing returns a job of one batch for a processor that takes its time for
// each record, on so many workers.
func processing(records, workers int) measure.Job {
	return measure.Job{Records: records, Prepare: func() (func(context.Context) error, error) {
		var p funnel.Processor = fake.NewWaitingProcessor(lookup)
		if workers > 1 {
			var err error
			if p, err = funnel.NewParallelProcessor(p, workers); err != nil {
				return nil, err
			}
		}
		source := fake.NewWaitingSource(records, records, 0)
		return running(pipeline.Engine{}, source, []funnel.Processor{p}, fake.NewWaitingDestination(0)), nil
	}}
}

// running returns what runs a pipeline and makes sure that it has done all of its
// work.
func running(e pipeline.Engine, s *fake.WaitingSource, ps []funnel.Processor, d funnel.Destination) func(context.Context) error {
	return func(ctx context.Context) error {
		left := s.Left()
		if err := e.Run(ctx, &pipeline.Pipeline{Source: s, Processors: ps, Destinations: []funnel.Destination{d}}); err != nil {
			return err
		}
		if s.Acked() != left {
			return fmt.Errorf("%d of %d records were acked", s.Acked(), left)
		}
		return nil
	}
}
