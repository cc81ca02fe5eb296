package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/log"
)

// journal is what the fakes of a test have been asked to do, in order, a line
// for each call.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(words ...string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, strings.Join(words, " "))
}

// all returns the lines that start with one of the words, or every line.
func (j *journal) all(words ...string) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var lines []string
	for _, line := range j.lines {
		if len(words) == 0 || slices.Contains(words, strings.Fields(line)[0]) {
			lines = append(lines, line)
		}
	}
	return lines
}

// want fails the test if the lines that start with one of the words are not
// these.
func (j *journal) want(t *testing.T, words []string, want ...string) {
	t.Helper()
	if got := j.all(words...); !slices.Equal(got, want) {
		t.Errorf("calls:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// records returns records with these positions, which are also their payload.
func records(positions ...string) []opencdc.Record {
	recs := make([]opencdc.Record, len(positions))
	for i, p := range positions {
		recs[i] = opencdc.Record{
			Position: opencdc.Position(p),
			Metadata: opencdc.Metadata{"id": p},
			Payload:  opencdc.Change{After: opencdc.RawData(p)},
		}
	}
	return recs
}

func positionsOf(recs []opencdc.Record) []string {
	positions := make([]string, len(recs))
	for i, rec := range recs {
		positions[i] = string(rec.Position)
	}
	return positions
}

// fakeRead is what a read of a fakeSource returns.
type fakeRead struct {
	recs []opencdc.Record
	err  error
}

// fakeSource returns the reads, then io.EOF or, if it is endless, nothing until
// it is torn down. A function that is set is called in place of what the fake
// would do.
type fakeSource struct {
	*journal
	reads   []fakeRead
	endless bool

	open     func(context.Context) error
	read     func(context.Context) ([]opencdc.Record, error)
	ack      func(context.Context, []opencdc.Position) error
	teardown func(context.Context) error

	once    sync.Once
	torn    chan struct{} // closed by a teardown
	reading chan struct{} // gets a value for each read that blocks
}

func newSource(j *journal, reads ...fakeRead) *fakeSource {
	return &fakeSource{journal: j, reads: reads, torn: make(chan struct{}), reading: make(chan struct{}, 1)}
}

// batchesOf returns a source of one batch for each argument: the positions of
// its records, separated by spaces.
func batchesOf(j *journal, batches ...string) *fakeSource {
	s := newSource(j)
	for _, b := range batches {
		s.reads = append(s.reads, fakeRead{recs: records(strings.Fields(b)...)})
	}
	return s
}

func (s *fakeSource) ID() string           { panic("the engine asked a source for its ID") }
func (s *fakeSource) Errors() <-chan error { panic("the engine asked a source for its errors") }

func (s *fakeSource) Open(ctx context.Context) error {
	s.add("open source")
	if s.open != nil {
		return s.open(ctx)
	}
	return nil
}

func (s *fakeSource) Read(ctx context.Context) ([]opencdc.Record, error) {
	if s.read != nil {
		return s.read(ctx)
	}
	if len(s.reads) > 0 {
		r := s.reads[0]
		s.reads = s.reads[1:]
		return r.recs, r.err
	}
	if !s.endless {
		return nil, io.EOF
	}
	return nil, s.block(ctx)
}

// block waits for the teardown.
func (s *fakeSource) block(ctx context.Context) error {
	s.reading <- struct{}{}
	select {
	case <-s.torn:
		return errors.New("the source was torn down")
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *fakeSource) Ack(ctx context.Context, positions []opencdc.Position) error {
	words := []string{"ack"}
	for _, p := range positions {
		words = append(words, string(p))
	}
	s.add(words...)
	if s.ack != nil {
		return s.ack(ctx, positions)
	}
	return nil
}

func (s *fakeSource) Teardown(ctx context.Context) error {
	s.add("teardown source")
	if s.teardown != nil {
		if err := s.teardown(ctx); err != nil {
			return err
		}
	}
	s.once.Do(func() { close(s.torn) })
	return nil
}

// fakeDestination acks all that it is given, in one go. Records whose position
// is in refuse are acked with an error.
type fakeDestination struct {
	*journal
	name   string
	refuse map[string]error

	open     func(context.Context) error
	write    func(context.Context, []opencdc.Record) error
	acks     func(context.Context) ([]connector.DestinationAck, error)
	teardown func(context.Context) error

	written []opencdc.Record // all of them
	pending []connector.DestinationAck
}

func newDestination(j *journal, name string) *fakeDestination {
	return &fakeDestination{journal: j, name: name, refuse: make(map[string]error)}
}

func (d *fakeDestination) ID() string { panic("the engine asked a destination for its ID") }
func (d *fakeDestination) Errors() <-chan error {
	panic("the engine asked a destination for its errors")
}

func (d *fakeDestination) Open(ctx context.Context) error {
	d.add("open", d.name)
	if d.open != nil {
		return d.open(ctx)
	}
	return nil
}

func (d *fakeDestination) Write(ctx context.Context, recs []opencdc.Record) error {
	d.add(append([]string{d.name}, positionsOf(recs)...)...)
	d.written = append(d.written, recs...)
	d.pending = nil
	for _, rec := range recs {
		d.pending = append(d.pending, connector.DestinationAck{
			Position: rec.Position, Error: d.refuse[string(rec.Position)],
		})
	}
	if d.write != nil {
		return d.write(ctx, recs)
	}
	return nil
}

func (d *fakeDestination) Ack(ctx context.Context) ([]connector.DestinationAck, error) {
	if d.acks != nil {
		return d.acks(ctx)
	}
	acks := d.pending
	d.pending = nil
	return acks, nil
}

func (d *fakeDestination) Teardown(ctx context.Context) error {
	d.add("teardown", d.name)
	if d.teardown != nil {
		return d.teardown(ctx)
	}
	return nil
}

// fakeProcessor is a processor that is one function.
type fakeProcessor func(context.Context, []opencdc.Record) []sdk.ProcessedRecord

func (p fakeProcessor) Open(context.Context) error     { return nil }
func (p fakeProcessor) Teardown(context.Context) error { return nil }
func (p fakeProcessor) Process(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
	return p(ctx, recs)
}

// each returns a processor that handles each record by itself.
func each(f func(opencdc.Record) sdk.ProcessedRecord) fakeProcessor {
	return func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		results := make([]sdk.ProcessedRecord, len(recs))
		for i, rec := range recs {
			results[i] = f(rec)
		}
		return results
	}
}

// splitInto returns the pieces of a record: copies whose positions are that of
// the record and a letter.
func splitInto(rec opencdc.Record, n int) sdk.MultiRecord {
	pieces := make(sdk.MultiRecord, n)
	for i := range pieces {
		pieces[i] = rec.Clone()
		pieces[i].Position = opencdc.Position(string(rec.Position) + string(rune('a'+i)))
	}
	return pieces
}

// fakeTask is a custom task that is one function.
type fakeTask struct {
	id      string
	process func(context.Context, *funnel.Batch) error
	opened  func() error
	closed  func() error
}

func (t *fakeTask) ID() string { return t.id }

func (t *fakeTask) Open(context.Context) error {
	if t.opened != nil {
		return t.opened()
	}
	return nil
}

func (t *fakeTask) Close(context.Context) error {
	if t.closed != nil {
		return t.closed()
	}
	return nil
}

func (t *fakeTask) Do(ctx context.Context, b *funnel.Batch) error { return t.process(ctx, b) }

// node returns a node with the task and the next nodes.
func node(task funnel.Task, next ...*funnel.TaskNode) *funnel.TaskNode {
	return &funnel.TaskNode{Task: task, Next: next}
}

// chain links the nodes one behind the other and returns the first one.
func chain(nodes ...*funnel.TaskNode) *funnel.TaskNode {
	for i := range nodes[:len(nodes)-1] {
		nodes[i].Next = append(nodes[i].Next, nodes[i+1])
	}
	return nodes[0]
}

func from(s funnel.Source) *funnel.TaskNode {
	return node(funnel.NewSourceTask("source", s, log.Nop(), nil))
}

func through(id string, p funnel.Processor) *funnel.TaskNode {
	return node(funnel.NewProcessorTask(id, p, log.Nop(), nil))
}

func custom(id string, process func(context.Context, *funnel.Batch) error) *funnel.TaskNode {
	return node(&fakeTask{id: id, process: process})
}

func to(d *fakeDestination) *funnel.TaskNode {
	return node(funnel.NewDestinationTask(d.name, d, log.Nop(), nil))
}

// queue returns a dead-letter queue without a window.
func queue(d *fakeDestination) *funnel.DLQ {
	return funnel.NewDLQ(d.name, d, log.Nop(), nil, 0, 0)
}

func newWorker(t *testing.T, first *funnel.TaskNode, dlq *funnel.DLQ) *funnel.Worker {
	t.Helper()
	w, err := funnel.NewWorker(first, dlq, log.Nop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// runWorker opens the worker, runs it to its end, closes it and returns what Do
// has returned.
func runWorker(t *testing.T, w *funnel.Worker) error {
	t.Helper()
	ctx := t.Context()
	if err := w.Open(ctx); err != nil {
		t.Fatalf("Open: %v", err)
	}
	err := w.Do(ctx)
	if err := w.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
	return err
}

// run runs a pipeline to its end.
func run(t *testing.T, dlq *funnel.DLQ, nodes ...*funnel.TaskNode) error {
	t.Helper()
	return runWorker(t, newWorker(t, chain(nodes...), dlq))
}

func wantNoError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("unexpected error: %v", err)
	}
}

// wantError fails the test if err is not what, or if it lacks one of the words.
func wantError(t *testing.T, err, what error, words ...string) {
	t.Helper()
	if err == nil {
		t.Error("there is no error")
		return
	}
	if what != nil && !errors.Is(err, what) {
		t.Errorf("error %q is not %q", err, what)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q does not say %q", err, word)
		}
	}
}

var errTest = errors.New("test error")

func errFor(position string) error { return fmt.Errorf("%w of %s", errTest, position) }
