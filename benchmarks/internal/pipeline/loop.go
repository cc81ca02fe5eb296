package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
)

// Loop runs pipelines as one would by hand: read, process, write, collect and check
// every ack, ack the source.
//
// Like the engine it loses nothing and acks nothing early. It does no more than the
// pipelines at hand need: it does not retry; only one task may refuse records, and no
// pieces of a split; it writes to one destination after the other.
type Loop struct{}

// Run runs a pipeline until its source ends.
func (Loop) Run(ctx context.Context, p *Pipeline) error {
	r := run{Pipeline: p, scratch: make([][]opencdc.Record, len(p.Processors))}
	for i := range p.Processors {
		r.processorIDs = append(r.processorIDs, ProcessorID(i))
	}
	for i := range p.Destinations {
		r.destinationIDs = append(r.destinationIDs, DestinationID(i))
	}
	if err := r.open(ctx); err != nil {
		return err
	}
	for {
		records, err := p.Source.Read(ctx)
		isLast := err != nil && errors.Is(err, io.EOF)
		if err != nil && !isLast {
			return errors.Join(err, r.close(ctx))
		}
		if len(records) > 0 {
			if err := r.batch(ctx, records); err != nil {
				return errors.Join(err, r.close(ctx))
			}
		}
		if isLast {
			return r.close(ctx)
		}
	}
}

// run is a run of a pipeline.
type run struct {
	*Pipeline
	processorIDs, destinationIDs []string

	scratch [][]opencdc.Record // for each processor: a buffer for the records that it returns
	refused []refusal          // refused records of the batch
}

// refusal is a refused record and the reason.
type refusal struct {
	record opencdc.Record
	err    error
	taskID string
}

func (r *run) batch(ctx context.Context, records []opencdc.Record) error {
	// A processor may change the positions, and the source may keep the slice.
	positions := make([]opencdc.Position, len(records))
	for i := range records {
		positions[i] = records[i].Position
	}
	for i := range r.Processors {
		var err error
		if records, err = r.process(ctx, i, records); err != nil {
			return fmt.Errorf("%s: %w", r.processorIDs[i], err)
		}
	}
	if len(records) > 0 {
		for i := range r.Destinations {
			if err := r.write(ctx, r.Destinations[i], r.destinationIDs[i], records); err != nil {
				return fmt.Errorf("%s: %w", r.destinationIDs[i], err)
			}
		}
	}
	if len(r.refused) > 0 {
		if err := r.bury(ctx); err != nil {
			return fmt.Errorf("%s: %w", DLQID, err)
		}
	}
	return r.Source.Ack(ctx, positions)
}

// process calls a processor and returns the records that go on.
func (r *run) process(ctx context.Context, i int, records []opencdc.Record) ([]opencdc.Record, error) {
	results := r.Processors[i].Process(ctx, records)
	if len(results) != len(records) {
		return nil, fmt.Errorf("got %d results for %d records", len(results), len(records))
	}
	next, n := records, 0 // in place while there is room
	for k := range results {
		switch result := results[k].(type) {
		case sdk.SingleRecord:
			next[n] = opencdc.Record(result)
			n++
		case sdk.FilterRecord:
		case sdk.MultiRecord:
			if need := n + len(result) + len(results) - k - 1; need > len(next) {
				next = r.grow(i, next[:n], need)
			}
			n += copy(next[n:], result)
		case sdk.ErrorRecord:
			r.refuse(&records[k], result.Error, r.processorIDs[i])
		default:
			return nil, fmt.Errorf("record %q: got a result of the kind %T", records[k].Position, result)
		}
	}
	return next[:n], nil
}

// grow returns a slice that begins with the records and has room for at least need. It
// is kept for each processor from batch to batch.
func (r *run) grow(i int, records []opencdc.Record, need int) []opencdc.Record {
	if len(r.scratch[i]) < need {
		bigger := make([]opencdc.Record, 2*need)
		copy(bigger, records)
		r.scratch[i] = bigger
		return bigger
	}
	copy(r.scratch[i], records)
	return r.scratch[i]
}

// write writes records to a destination, collects their acks and keeps the refused
// ones.
func (r *run) write(ctx context.Context, d funnel.Destination, taskID string, records []opencdc.Record) error {
	if err := d.Write(ctx, records); err != nil {
		return err
	}
	for acked, empty := 0, 0; acked < len(records); {
		acks, err := d.Ack(ctx)
		if err != nil {
			return err
		}
		if len(acks) == 0 {
			if empty++; empty == 5 {
				return fmt.Errorf("stopped acking at %d of %d records", acked, len(records))
			}
			continue
		}
		if len(acks) > len(records)-acked {
			return fmt.Errorf("got %d acks where %d were missing", len(acks), len(records)-acked)
		}
		empty = 0
		for k := range acks {
			ack, record := &acks[k], &records[acked]
			if !bytes.Equal(ack.Position, record.Position) {
				return fmt.Errorf("got an ack of %q, want %q", ack.Position, record.Position)
			}
			if ack.Error != nil {
				r.refuse(record, ack.Error, taskID)
			}
			acked++
		}
	}
	return nil
}

// refuse keeps a refused record.
func (r *run) refuse(record *opencdc.Record, err error, taskID string) {
	r.refused = append(r.refused, refusal{record: *record, err: err, taskID: taskID})
}

// bury writes the refused records to the dead-letter queue.
func (r *run) bury(ctx context.Context) error {
	if r.DLQ == nil {
		return r.refused[0].err
	}
	now := time.Now()
	letters := make([]opencdc.Record, len(r.refused)) // the queue may keep the records
	for i := range r.refused {
		letters[i] = r.refused[i].deadLetter(now)
	}
	clear(r.refused)
	r.refused = r.refused[:0]
	if err := r.write(ctx, r.DLQ, DLQID, letters); err != nil {
		return err
	}
	if len(r.refused) > 0 {
		return r.refused[0].err
	}
	return nil
}

// deadLetter returns the same dead letter as the engine writes.
func (r *refusal) deadLetter(now time.Time) opencdc.Record {
	sourceID := SourceID
	if id, err := r.record.Metadata.GetConduitSourceConnectorID(); err == nil {
		sourceID = id
	}
	metadata := opencdc.Metadata{}
	metadata.SetCreatedAt(now)
	metadata.SetConduitSourceConnectorID(sourceID)
	metadata.SetConduitDLQNackError(r.err.Error())
	metadata.SetConduitDLQNackNodeID(r.taskID)
	metadata[funnel.MetadataDeadLetter] = `{"holds":"given"}` // the refused records are raw, so no type needs a note
	return opencdc.Record{
		Position:  r.record.Position,
		Operation: opencdc.OperationCreate,
		Metadata:  metadata,
		Payload:   opencdc.Change{After: opencdc.StructuredData(r.record.Map())},
	}
}

// open opens the connectors and processors of the pipeline.
func (r *run) open(ctx context.Context) error {
	err := r.Source.Open(ctx)
	for _, p := range r.Processors {
		err = errors.Join(err, p.Open(ctx))
	}
	for _, d := range r.Destinations {
		err = errors.Join(err, d.Open(ctx))
	}
	if r.DLQ != nil {
		err = errors.Join(err, r.DLQ.Open(ctx))
	}
	return err
}

// close tears down what open has opened.
func (r *run) close(ctx context.Context) error {
	err := r.Source.Teardown(ctx)
	for _, p := range r.Processors {
		err = errors.Join(err, p.Teardown(ctx))
	}
	for _, d := range r.Destinations {
		err = errors.Join(err, d.Teardown(ctx))
	}
	if r.DLQ != nil {
		err = errors.Join(err, r.DLQ.Teardown(ctx))
	}
	return err
}
