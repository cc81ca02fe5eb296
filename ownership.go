package funnel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/batch"
	"github.com/conduitio/funnel/internal/deepcopy"
	"github.com/conduitio/funnel/internal/fingerprint"
)

// WithOwnershipChecks finds connectors and processors that write to memory that is not
// theirs, or keep memory that they must not keep. [Source], [Destination] and [Processor]
// have the rules. For each fault it calls report with an error that says what was done
// and wraps a [*TaskError] with the ID of the task. Then the batch goes on. But a slice
// that must not be kept no longer holds its records: acks from it do not match. report may
// be called by several goroutines at a time. The checks find:
//
//   - A source that writes to the slice of an earlier read or to the records or positions
//     in it, or that returns records from such a slice.
//   - A task that writes to the bytes of a position.
//   - A destination that writes to the slice that it was given, during Write or later, or
//     to the contents of the records. A destination that keeps the slice and acks
//     from it. Both include the destination of the dead-letter queue.
//   - A processor that keeps the slice that it was given, and later writes to it or
//     returns records from it.
//
// The option is for tests: each record is copied and examined several times, which costs
// some microseconds for each record and task, and branches never share records.
// Connectors and processors are checked only in tasks made by [NewSourceTask],
// [NewDestinationTask] and [NewProcessorTask]. In other tasks, only positions are
// checked. A destination inside a [NewPartitionedDestination] gets slices of that one, so
// it is not found if it keeps them. A record that is nested too deeply to be copied is not
// checked, nor is what a processor does later to data that it has returned. [NewWorker]
// returns an error if report is nil.
func WithOwnershipChecks(report func(error)) WorkerOption {
	return workerOption(func(o *options) error {
		if report == nil {
			return errors.New("the function that ownership faults are reported to is nil")
		}
		o.reportFault = report
		return nil
	})
}

// The checks give a connector or processor a slice of its own. Once it must no longer use
// the slice, they fill the slice with poison: records that can be recognized if they are
// used, and that show whether they were changed. Anything else that must not change is
// fingerprinted before and after.

// poison is the position of the records in slices that must not be used anymore.
const poison = "funnel: this slice was given back to the engine"

// ownershipChecks are the checks of a worker.
type ownershipChecks struct {
	report func(error)
	prints *fingerprint.Maker

	sourceID string
	tasks    map[*TaskNode]Task // with checked connectors or processors
	queue    *DestinationTask   // the same for the dead-letter queue, or nil

	source       *checkedSource // nil unless the first task is a SourceTask
	processors   []*checkedProcessor
	destinations []*checkedDestination

	mu        sync.Mutex
	batch     *batch.SourceBatch // in flight
	positions []uint64           // fingerprints of its positions
}

// newOwnershipChecks returns checks for the tasks of a worker and its queue.
func newOwnershipChecks(w *Worker) *ownershipChecks {
	c := &ownershipChecks{
		report:   w.reportFault,
		prints:   fingerprint.New(),
		sourceID: w.ids[w.FirstTask],
		tasks:    make(map[*TaskNode]Task),
	}
	for node, id := range w.ids {
		switch t := node.Task.(type) {
		case *SourceTask:
			c.source = &checkedSource{Source: t.source, check: check{c, id}}
			checked := *t
			checked.source = c.source
			c.tasks[node] = &checked
		case *ProcessorTask:
			p := &checkedProcessor{Processor: t.processor, check: check{c, id}}
			c.processors = append(c.processors, p)
			checked := *t
			checked.processor = p
			c.tasks[node] = &checked
		case *DestinationTask:
			c.tasks[node] = c.checked(t, id)
		default:
			c.tasks[node] = t
		}
	}
	if w.DLQ != nil {
		c.queue = c.checked(w.DLQ.task, w.DLQ.task.id)
	}
	return c
}

// checked returns a task like t whose destination is checked.
func (c *ownershipChecks) checked(t *DestinationTask, id string) *DestinationTask {
	checked := *t
	checked.destination = c.wrap(t.destination, id)
	return &checked
}

// wrap returns d with checks, which are inside of decorators that hand out slices of
// their own.
func (c *ownershipChecks) wrap(d Destination, id string) Destination {
	switch d := d.(type) {
	case *limitedDestination:
		outer := *d
		outer.Destination = c.wrap(d.Destination, id)
		return &outer
	case *retryDestination:
		outer := *d
		outer.Destination = c.wrap(d.Destination, id)
		return &outer
	default:
		checked := &checkedDestination{Destination: d, check: check{c, id}}
		c.destinations = append(c.destinations, checked)
		return checked
	}
}

// finish looks back for the last time, when the worker has ended.
func (c *ownershipChecks) finish() {
	if c.source != nil {
		c.source.lookBack()
	}
	for _, p := range c.processors {
		p.lookBack()
	}
	for _, d := range c.destinations {
		d.before = d.last
		d.lookBack()
	}
}

// check reports the faults of one task.
type check struct {
	*ownershipChecks
	id string
}

func (c check) fault(format string, args ...any) {
	c.report(taskError(c.id, fmt.Errorf(format, args...)))
}

// poisoned fills a slice with poison.
func poisoned(records []opencdc.Record) {
	for i := range records {
		records[i] = opencdc.Record{Position: opencdc.Position(poison)}
	}
}

// isPoison returns true if a record was not changed since it was poisoned.
func isPoison(r *opencdc.Record) bool {
	return string(r.Position) == poison && r.Operation == 0 && r.Metadata == nil &&
		r.Key == nil && r.Payload.Before == nil && r.Payload.After == nil
}

// isIntact returns true if a poisoned slice was not written to.
func isIntact(records []opencdc.Record) bool {
	return !slices.ContainsFunc(records, func(r opencdc.Record) bool { return !isPoison(&r) })
}

// holdsPoison returns true if records come from a poisoned slice.
func holdsPoison(records ...opencdc.Record) bool {
	return slices.ContainsFunc(records, func(r opencdc.Record) bool { return string(r.Position) == poison })
}

// copyOf returns a copy of a record that shares nothing with it, or the record itself if
// it is nested too deeply.
func copyOf(r *opencdc.Record) opencdc.Record {
	copied, err := deepcopy.Record(*r)
	if err != nil {
		copied = *r
	}
	copied.Position = slices.Clone(copied.Position)
	return copied
}

// watchedReads is the number of recent reads whose slices and records are watched.
const watchedReads = 8

// checkedSource checks a source. The pipeline gets copies, so the records that the source
// has returned must not change.
type checkedSource struct {
	Source
	check
	reads []watchedRead
}

// watchedRead is what a source has returned.
type watchedRead struct {
	slice   []opencdc.Record // the slice itself, poisoned
	records []opencdc.Record // what was in it
	prints  []uint64
}

// Read returns copies of what the source returns.
func (s *checkedSource) Read(ctx context.Context) ([]opencdc.Record, error) {
	records, err := s.Source.Read(ctx)
	s.lookBack()
	if holdsPoison(records...) {
		s.fault("the source has returned records from a slice that it had returned before, which belongs to the engine")
	}
	if len(records) == 0 {
		return records, err
	}
	r := watchedRead{slice: records, records: slices.Clone(records)}
	copies := make([]opencdc.Record, len(records))
	for i := range records {
		r.prints = append(r.prints, s.prints.Record(&records[i]))
		copies[i] = copyOf(&records[i])
	}
	poisoned(records)
	if s.reads = append(s.reads, r); len(s.reads) > watchedReads {
		s.reads = s.reads[1:]
	}
	return copies, err
}

// lookBack checks what earlier reads have returned.
func (s *checkedSource) lookBack() {
	s.reads = slices.DeleteFunc(s.reads, func(r watchedRead) bool {
		if !isIntact(r.slice) {
			s.fault("the source has written to a slice that it had returned, which belongs to the engine; its first record was %s",
				quotePosition(r.records[0].Position))
			return true
		}
		for i := range r.records {
			if s.prints.Record(&r.records[i]) != r.prints[i] {
				s.fault("the source has changed a record that it had returned, or its position: record %d of a read of %d", i, len(r.records))
				return true
			}
		}
		return false
	})
}

// checkedProcessor checks a processor.
type checkedProcessor struct {
	Processor
	check
	given []opencdc.Record // the slice of the last call, poisoned
}

// Process gives the processor a slice of its own.
func (p *checkedProcessor) Process(ctx context.Context, records []opencdc.Record) []sdk.ProcessedRecord {
	given := slices.Clone(records)
	results := slices.Clone(p.Processor.Process(ctx, given))
	p.lookBack()
	for i, result := range results {
		var returned []opencdc.Record
		switch result := result.(type) {
		case sdk.SingleRecord:
			returned = []opencdc.Record{opencdc.Record(result)}
		case sdk.MultiRecord:
			returned = slices.Clone(result)
			results[i] = sdk.MultiRecord(returned)
		}
		if holdsPoison(returned...) {
			p.fault("the processor has returned a record from the slice that it was given in an earlier call, which belongs to the engine")
		}
	}
	copy(records, given) // the processor may change its slice during the call
	poisoned(given)
	p.given = given
	return results
}

// lookBack checks the slice of the last call.
func (p *checkedProcessor) lookBack() {
	if !isIntact(p.given) {
		p.fault("the processor has written to the slice that it was given in an earlier call, which belongs to the engine")
	}
	p.given = nil
}

// checkedDestination checks a destination, which gets copies, so that nobody else can
// change them.
type checkedDestination struct {
	Destination
	check
	given        []opencdc.Record // the slice of the last write, poisoned
	last, before watchedWrite     // the last write and the one before it
	acked        int              // of the last write
}

// watchedWrite is what a destination was given.
type watchedWrite struct {
	records []opencdc.Record
	prints  []uint64
}

// Write gives the destination a slice of its own.
func (d *checkedDestination) Write(ctx context.Context, records []opencdc.Record) error {
	given := make([]opencdc.Record, len(records))
	prints := make([]uint64, len(records))
	for i := range records {
		given[i] = copyOf(&records[i])
		prints[i] = d.check.prints.Record(&given[i])
	}
	d.before, d.last, d.acked = d.last, watchedWrite{slices.Clone(given), prints}, 0
	err := d.Destination.Write(ctx, given)
	d.lookBack()
	d.before = watchedWrite{}
	d.compare(&d.last, "during Write")
	for i := range given {
		if d.check.prints.Record(&given[i]) != prints[i] {
			d.fault("the destination has changed the slice that it was given, which others may share: record %d of %d, %s",
				i, len(given), quotePosition(records[i].Position))
			break
		}
	}
	poisoned(given)
	d.given = given
	return err
}

// Ack compares the contents of the records once more when all are acked.
func (d *checkedDestination) Ack(ctx context.Context) ([]connector.DestinationAck, error) {
	acks, err := d.Destination.Ack(ctx)
	for i := range acks {
		if string(acks[i].Position) == poison && !holdsPoison(d.last.records...) {
			d.fault("the destination has acked from the slice that it was given, which it must not keep after Write")
		}
	}
	if d.acked += len(acks); d.acked >= len(d.last.records) {
		d.compare(&d.last, "after Write")
	}
	return acks, err
}

// lookBack checks the slice of the last write, and the records of the write before.
func (d *checkedDestination) lookBack() {
	if !isIntact(d.given) {
		d.fault("the destination has written to the slice of an earlier write, which it must not keep")
	}
	d.given = nil
	d.compare(&d.before, "after its last ack")
}

// compare checks that the contents of the records of a write were not changed.
func (d *checkedDestination) compare(w *watchedWrite, when string) {
	for i := range w.records {
		now := d.check.prints.Record(&w.records[i])
		if now == w.prints[i] {
			continue
		}
		d.fault("the destination has changed, %s, what a record holds, which others may share: record %d of %d, %s",
			when, i, len(w.records), quotePosition(w.records[i].Position))
		w.prints[i] = now // so that it is reported once
	}
}

// beginBatch remembers the positions of a batch.
func (c *ownershipChecks) beginBatch(s *batch.SourceBatch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.batch, c.positions = s, c.positions[:0]
	for _, p := range s.Positions {
		c.positions = append(c.positions, c.prints.Bytes(p))
	}
}

// checkAcked checks the positions [from, to) of a batch before they are acked.
func (c *ownershipChecks) checkAcked(s *batch.SourceBatch, from, to int) {
	if i := c.changedPosition(s, from, to); i >= 0 {
		check{c, c.sourceID}.fault("the position of record %d of %d was changed after it was read: it is %s now",
			i, len(s.Positions), quotePosition(s.Positions[i]))
	}
}

// changedPosition returns the first of the positions [from, to) of a batch that was
// changed, or -1. It reports each change once.
func (c *ownershipChecks) changedPosition(s *batch.SourceBatch, from, to int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s != c.batch {
		return -1 // the host has made it
	}
	first := -1
	for i := from; i < to; i++ {
		if now := c.prints.Bytes(s.Positions[i]); now != c.positions[i] {
			c.positions[i] = now
			if first < 0 {
				first = i
			}
		}
	}
	return first
}

// call calls the task of a node, with checks.
func (c *ownershipChecks) call(ctx context.Context, node *TaskNode, id string, b *Batch) error {
	source, records := b.copies.Source(), b.copies.Records()
	positions := make([]opencdc.Position, len(records))
	prints := make([]uint64, len(records))
	for i := range records {
		positions[i] = records[i].Position
		prints[i] = c.prints.Bytes(positions[i])
	}
	err := c.tasks[node].Do(ctx, b)
	for i, p := range positions {
		if c.prints.Bytes(p) != prints[i] {
			c.changedPosition(source, 0, len(source.Positions)) // or the ack would find it again
			check{c, id}.fault("the task has written to the bytes of a position, which others share: record %d of %d, the position is %s now",
				i, len(positions), quotePosition(p))
			break
		}
	}
	return err
}
