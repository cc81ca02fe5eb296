package suite

import (
	"context"
	"fmt"
	"time"

	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"

	"github.com/conduitio/funnel/benchmarks/internal/fake"
	"github.com/conduitio/funnel/benchmarks/internal/measure"
	"github.com/conduitio/funnel/benchmarks/internal/pipeline"
)

// Waiting is a row whose pipelines spend their time waiting. The subject gets more
// records than the base, so that it runs long enough, too.
type Waiting struct {
	Row
	Jobs [2]measure.Job // of the base, of the subject
}

// Measure compares the two series, per record.
func (w *Waiting) Measure(ctx context.Context, effort measure.Effort) (measure.Comparison, error) {
	return measure.CompareJobs(ctx, w.Jobs[0], w.Jobs[1], effort.Runs)
}

const (
	// call is the time that a connector takes per call.
	call = time.Millisecond
	// ahead is the number of records to read ahead.
	ahead = 1_000
	// lookup is the time that a processor takes per record. A parallel one processes
	// this many records at a time: workers.
	lookup  = 2 * time.Millisecond
	workers = 16
	// request is the time that a destination takes per record. A partitioned destination
	// has this many lanes: lanes.
	request = 2 * time.Millisecond
	lanes   = 16
)

// WaitingCases returns the cases that compare reading ahead, parallel processors, whole
// batches, partitioned destinations and workers that share a sink to the engine without
// them.
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
		{
			Row: Row{
				Case: "whole batches, slow connectors", X: usual, Title: "whole batches, a processor nacks 10 of 100, all connectors of 1 ms per call",
				Base: Engine, Subject: WholeBatches, Target: Target{Speedup: 50},
			},
			Jobs: [2]measure.Job{nacking(1, nil), nacking(20, []funnel.WorkerOption{funnel.WithWholeBatches()})},
		},
		{
			Row: Row{
				Case: "lanes", X: usual, Title: "partitioned destination of 2 ms per record, 16 lanes",
				Base: Engine, Subject: Lanes, Target: Target{Speedup: 14},
			},
			Jobs: [2]measure.Job{
				writing(50, fake.NewWaitingDestination(0, request)),
				writing(usual, partitioned(request)),
			},
		},
		{
			Row: Row{
				Case: "over a sink, waiting workers", X: 4, Title: "4 workers that always wait for one sink, batches of 1",
				Base: Engine, Subject: Sink, Target: Target{More: 2_000},
			},
			Jobs: [2]measure.Job{alone(200_000), sharing(200_000, 4)},
		},
	}
}

// moving returns a job that moves records in batches of this size, from a source that
// waits this long per batch to a destination that waits per write.
func moving(records, size int, read time.Duration, options []funnel.WorkerOption) measure.Job {
	return measure.Job{Records: records, Prepare: func() (func(context.Context) error, error) {
		source := fake.NewWaitingSource(records, size, read)
		return running(pipeline.Engine{Options: options}, source, &pipeline.Pipeline{
			Destinations: []funnel.Destination{fake.NewWaitingDestination(call, 0)},
		}), nil
	}}
}

// alone returns the job that sharing does, for one worker and without a sink.
func alone(records int) measure.Job {
	return measure.Job{Records: records, Prepare: func() (func(context.Context) error, error) {
		return running(pipeline.Engine{}, fake.NewWaitingSource(records, 1, 0), &pipeline.Pipeline{
			Destinations: []funnel.Destination{fake.NewWaitingDestination(0, 0)},
		}), nil
	}}
}

// sharing returns a job of single records that this many workers move, from sources to
// one destination, all of which never wait. So the workers wait for each other.
func sharing(records, workers int) measure.Job {
	return measure.Job{Records: records, Prepare: func() (func(context.Context) error, error) {
		var sources []funnel.Source
		for range workers {
			sources = append(sources, fake.NewWaitingSource(records/workers, 1, 0))
		}
		p := &pipeline.Pipeline{Destinations: []funnel.Destination{fake.NewWaitingDestination(0, 0)}}
		return func(ctx context.Context) error {
			return pipeline.Engine{}.RunTogether(ctx, p, sources...)
		}, nil
	}}
}

// processing returns a job of one batch for a processor that waits per record, on this
// many workers.
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
		return running(pipeline.Engine{}, source, &pipeline.Pipeline{
			Processors:   []funnel.Processor{p},
			Destinations: []funnel.Destination{fake.NewWaitingDestination(0, 0)},
		}), nil
	}}
}

// nacking returns a job of several batches. A processor nacks 10 of 100 records. Each
// call of the source's Ack, and each write of the destination and of the dead-letter
// queue, takes its time.
func nacking(batches int, options []funnel.WorkerOption) measure.Job {
	records := batches * usual
	return measure.Job{Records: records, Prepare: func() (func(context.Context) error, error) {
		source := fake.NewWaitingSource(records, usual, 0)
		source.WaitInAck = call
		step := pipeline.FailPercent(10)
		results := make([]sdk.ProcessedRecord, records)
		for i, record := range fake.Records(records, fake.Raw) {
			results[i] = step(i, record)
		}
		return running(pipeline.Engine{Options: options}, source, &pipeline.Pipeline{
			Processors:   []funnel.Processor{fake.NewProcessor(results)},
			Destinations: []funnel.Destination{fake.NewWaitingDestination(call, 0)},
			DLQ:          fake.NewWaitingDestination(call, 0),
		}), nil
	}}
}

// writing returns a job of one batch for a destination.
func writing(records int, d funnel.Destination) measure.Job {
	return measure.Job{Records: records, Prepare: func() (func(context.Context) error, error) {
		return running(pipeline.Engine{}, fake.NewWaitingSource(records, records, 0), &pipeline.Pipeline{
			Destinations: []funnel.Destination{d},
		}), nil
	}}
}

// partitioned returns a destination whose lanes take this long per record. The records
// of a usual batch have different keys.
func partitioned(each time.Duration) funnel.Destination {
	return funnel.NewPartitionedDestination(lanes, fake.NewKeys(usual),
		func(int) (funnel.Destination, error) { return fake.NewWaitingDestination(0, each), nil })
}

// running returns a function that runs a pipeline with this source and checks that all of its records
// were acked.
func running(e pipeline.Engine, s *fake.WaitingSource, p *pipeline.Pipeline) func(context.Context) error {
	p.Source = s
	return func(ctx context.Context) error {
		left := s.Left()
		if err := e.Run(ctx, p); err != nil {
			return err
		}
		if s.Acked() != left {
			return fmt.Errorf("%d of %d records were acked", s.Acked(), left)
		}
		return nil
	}
}
