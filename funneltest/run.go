package funneltest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
)

// Result is what a pipeline did with its records.
type Result struct {
	// Written maps the ID of each destination to the records that it has acked without an
	// error, in order.
	Written map[string][]opencdc.Record
	// DeadLetters are the dead letters that the queue has acked without an error, in order.
	DeadLetters []DeadLetter
	// Acked are the positions that were acked to the source, in order, if Run has made the
	// source. If the pipeline has its own source, Acked is nil: ask that source.
	Acked []opencdc.Position
	// Err is what [funnel.Worker.Run] has returned.
	Err error

	ids       map[string]bool // of the destinations
	isErrSeen bool            // the test has called WantErr
}

// DeadLetter is a record in the dead-letter queue.
type DeadLetter struct {
	Record opencdc.Record // as the queue gets it, with the failed record as its payload
	Error  string         // why it was nacked
	TaskID string         // the task that nacked it
}

// Run runs a pipeline until its source ends, and returns what became of the records.
//
// Run adds what the pipeline lacks, to a copy of it:
//   - A source of the records, in one batch. If the pipeline has a source, there must be no
//     records here.
//   - A destination for each path that ends at a processor, which is not allowed. Its ID is
//     "out" or, if there are several such paths, "out of ID", with the ID of the processor.
//   - A dead-letter queue that takes everything.
//
// [funnel.WithOwnershipChecks] watches the connectors and processors. Each fault that it
// finds fails the test. An error of the pipeline fails the test only when it looks at the
// result with a method such as [Result.Want].
func Run(t testing.TB, pipeline *funnel.Pipeline, records ...opencdc.Record) *Result {
	t.Helper()
	p, source := withSource(t, pipeline, records)
	r := &recorder{written: make(map[string][]opencdc.Record), wrapped: make(map[string]bool)}
	ends := 0
	p.Complete(func(string) *funnel.Pipeline { ends++; return nil })
	p.Complete(func(last string) *funnel.Pipeline {
		id := "out"
		if ends > 1 {
			id = "out of " + last
		}
		return funnel.To(id, &Destination{})
	})
	queue, ok := p.HasDeadLetters()
	if !ok {
		queue = "dead letters"
		p.DeadLetters(queue, &Destination{}, 0, 0)
	}
	p.WrapDestinations(func(id string, d funnel.Destination) funnel.Destination {
		if r.wrapped[id] {
			t.Fatalf("funneltest.Run: two destinations have the ID %q", id)
		}
		return r.wrap(id, d)
	})
	p.Options(funnel.WithOwnershipChecks(func(err error) { t.Errorf("an ownership fault: %v", err) }))

	result := &Result{Err: p.Run(t.Context())}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, letter := range r.written[queue] {
		text, _ := letter.Metadata.GetConduitDLQNackError()
		taskID, _ := letter.Metadata.GetConduitDLQNackNodeID()
		result.DeadLetters = append(result.DeadLetters, DeadLetter{letter, text, taskID})
	}
	delete(r.written, queue)
	delete(r.wrapped, queue)
	result.Written, result.ids = r.written, r.wrapped
	if source != nil {
		result.Acked = source.Acked()
	}
	return result
}

// withSource returns a copy of the pipeline with a source, and the source if Run has made
// it.
func withSource(t testing.TB, pipeline *funnel.Pipeline, records []opencdc.Record) (*funnel.Pipeline, *Source) {
	t.Helper()
	switch {
	case pipeline == nil:
		t.Fatal("funneltest.Run: the pipeline is nil")
	case !pipeline.HasSource():
		source := NewSource(records...)
		return funnel.From("source", source).Then(pipeline), source
	case len(records) > 0:
		t.Fatal("funneltest.Run: there are records for a pipeline that has a source")
	}
	return new(funnel.Pipeline).Then(pipeline), nil
}

// recorder keeps the records that destinations have acked.
type recorder struct {
	wrapped map[string]bool

	mu      sync.Mutex
	written map[string][]opencdc.Record
}

// wrap returns d with a recorder of what it acks.
func (r *recorder) wrap(id string, d funnel.Destination) funnel.Destination {
	r.wrapped[id] = true
	if v := reflect.ValueOf(d); d == nil || v.Kind() == reflect.Pointer && v.IsNil() {
		return d // the worker says so
	}
	return &recorded{Destination: d, recorder: r, id: id}
}

// recorded is a destination with a recorder of what it acks.
type recorded struct {
	funnel.Destination
	recorder *recorder
	id       string
	due      []opencdc.Record
}

func (d *recorded) Write(ctx context.Context, records []opencdc.Record) error {
	d.due = clones(records)
	return d.Destination.Write(ctx, records)
}

func (d *recorded) Ack(ctx context.Context) ([]connector.DestinationAck, error) {
	acks, err := d.Destination.Ack(ctx)
	d.recorder.mu.Lock()
	defer d.recorder.mu.Unlock()
	for _, ack := range acks {
		if len(d.due) == 0 {
			break // the worker reports acks that are too many
		}
		if ack.Error == nil {
			d.recorder.written[d.id] = append(d.recorder.written[d.id], d.due[0])
		}
		d.due = d.due[1:]
	}
	return acks, err
}

// Want fails the test unless the records that a destination has acked have exactly these
// payloads, in this order, see [Payload]. It also fails if no destination has the ID. Like
// the other methods, it fails if the pipeline has failed, unless the test has called
// WantErr before.
func (r *Result) Want(t testing.TB, id string, payloads ...string) {
	t.Helper()
	if !r.ids[id] && (r.Err == nil || len(r.ids) > 0) {
		t.Errorf("no destination has the ID %q, there are %q", id, slices.Sorted(maps.Keys(r.ids)))
		return
	}
	r.want(t, fmt.Sprintf("the payloads of the records in %q", id), Payloads(r.Written[id]), payloads)
}

// WantDeadLetters fails the test unless the dead letters have exactly these errors, in this
// order.
func (r *Result) WantDeadLetters(t testing.TB, texts ...string) {
	t.Helper()
	got := make([]string, len(r.DeadLetters))
	for i, letter := range r.DeadLetters {
		got[i] = letter.Error
	}
	r.want(t, "the errors of the dead letters", got, texts)
}

// WantAcked fails the test unless exactly these positions were acked, in this order.
func (r *Result) WantAcked(t testing.TB, positions ...string) {
	t.Helper()
	r.want(t, "the acked positions", texts(r.Acked), positions)
}

func (r *Result) want(t testing.TB, what string, got, want []string) {
	t.Helper()
	if r.Err != nil && !r.isErrSeen {
		t.Errorf("the pipeline has failed (if that is right, call WantErr first): %v", r.Err)
	}
	wantSame(t, what, got, want)
}

// WantErr fails the test unless the pipeline has ended with an error that is or wraps want,
// see [errors.Is]. If want is nil, it fails the test unless there was no error.
func (r *Result) WantErr(t testing.TB, want error) {
	t.Helper()
	r.isErrSeen = true
	switch {
	case want == nil && r.Err != nil:
		t.Errorf("the pipeline has failed: %v", r.Err)
	case want != nil && r.Err == nil:
		t.Errorf("the pipeline has not failed, want the error %q", want)
	case want != nil && !errors.Is(r.Err, want):
		t.Errorf("the pipeline has failed with %q, which is not %q", r.Err, want)
	}
}
