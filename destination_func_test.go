package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// What the function returns decides each record, or fails the Write.
func TestDestinationFunc_results(t *testing.T) {
	errA, errB := errors.New("a"), errors.New("b")
	for _, tt := range []struct {
		name  string
		err   error
		acks  []error // of the three records
		fails error
		words []string
	}{
		{name: "no error", acks: []error{nil, nil, nil}},
		{name: "no record is refused", err: make(funnel.RecordErrors, 3), acks: []error{nil, nil, nil}},
		{name: "some are refused", err: funnel.RecordErrors{errA, nil, errB}, acks: []error{errA, nil, errB}},
		{name: "wrapped", err: fmt.Errorf("insert: %w", funnel.RecordErrors{nil, errA, nil}), acks: []error{nil, errA, nil}},
		{name: "another error", err: errA, fails: errA},
		{name: "too few", err: funnel.RecordErrors{nil, errB}, fails: errB, words: []string{"2 entries for 3 records", "is: b"}},
		{name: "too many", err: funnel.RecordErrors{nil, nil, nil, nil}, words: []string{"4 entries for 3 records"}},
		{name: "none", err: funnel.RecordErrors(nil), acks: []error{nil, nil, nil}},
		{name: "no entries, wrapped", err: fmt.Errorf("%w: %w", errA, funnel.RecordErrors{}), fails: errA},
		{name: "no error, wrapped", err: fmt.Errorf("down: %w", make(funnel.RecordErrors, 3)), words: []string{"down"}},
		{name: "joined with another error", err: errors.Join(errA, funnel.RecordErrors{nil, errB, nil}), fails: errA},
		{name: "joined with nothing", err: errors.Join(nil, errA, make(funnel.RecordErrors, 3)), fails: errA},
	} {
		recs := fake.Numbered(3)
		var got []opencdc.Record
		var gotContext context.Context
		d := funnel.DestinationFunc(func(ctx context.Context, recs []opencdc.Record) error {
			got, gotContext = recs, ctx
			return tt.err
		})
		err := d.Write(t.Context(), recs)
		if len(got) != 3 || &got[0] != &recs[0] || gotContext != t.Context() {
			t.Errorf("%s: the function got %v", tt.name, got)
		}
		acks, ackErr := d.Ack(t.Context())
		fake.WantNoError(t, ackErr)
		if tt.acks == nil {
			fake.WantError(t, err, tt.fails, tt.words...)
			if len(acks) > 0 {
				t.Errorf("%s: acks %v, %v", tt.name, acks, err)
			}
			continue
		}
		fake.WantNoError(t, err)
		if len(acks) != 3 {
			t.Fatalf("%s: acks %v", tt.name, acks)
		}
		for i, ack := range acks {
			if string(ack.Position) != fmt.Sprint(i) || ack.Error != tt.acks[i] {
				t.Errorf("%s: ack %d is %v", tt.name, i, ack)
			}
		}
		if acks, _ := d.Ack(t.Context()); len(acks) > 0 {
			t.Errorf("%s: acked twice: %v", tt.name, acks)
		}
	}
}

// Refused records go to the dead-letter queue with their errors, the others are acked, and
// Writes of all sizes follow each other.
func TestDestinationFunc_worker(t *testing.T) {
	j := &fake.Journal{}
	d := funnel.DestinationFunc(func(_ context.Context, recs []opencdc.Record) error {
		j.AddRecords("out", recs)
		errs := make(funnel.RecordErrors, len(recs))
		for i, rec := range recs {
			if rec.Position[0] == 'x' {
				errs[i] = fake.ErrOf(string(rec.Position))
			}
		}
		return errs
	})
	out := fake.Node(funnel.NewDestinationTask("out", d, log.Nop(), nil))
	source := fake.SourceOf(j, "a b c x1", "x2", "d", "e x3 f")
	fake.WantNoError(t, fake.Run(t, fake.QueueWithErrors(j), fake.From(source), out))
	j.Want(t, "out", "out a b c x1", "out x2", "out d", "out e x3 f")
	j.Want(t, "dlq", "dlq x1:test error of x1", "dlq x2:test error of x2", "dlq x3:test error of x3")
	if got := j.Given("ack"); got != "a b c x1 x2 d e x3 f" {
		t.Errorf("acked: %s", got)
	}
}

// After a Write that has failed or panicked, and after Open, no ack of an earlier one is
// left.
func TestDestinationFunc_forgetsAcks(t *testing.T) {
	var fail func() error
	d := funnel.DestinationFunc(func(context.Context, []opencdc.Record) error { return fail() })
	for name, forget := range map[string]func(){
		"failed": func() { fail = func() error { return fake.ErrTest }; _ = d.Write(t.Context(), fake.Numbered(1)) },
		"panicked": func() {
			fail = func() error { panic("x") }
			fake.PanicOf(func() { _ = d.Write(t.Context(), fake.Numbered(1)) })
		},
		"opened": func() { fake.WantNoError(t, d.Open(t.Context())) },
	} {
		fail = func() error { return nil }
		fake.WantNoError(t, d.Write(t.Context(), fake.Numbered(2)))
		forget()
		if acks, err := d.Ack(t.Context()); len(acks) > 0 || err != nil {
			t.Errorf("%s: Ack: %v, %v", name, acks, err)
		}
	}
	fake.WantNoError(t, d.Teardown(t.Context()))
}

// A nil function is an error of NewWorker that names the task, of Open and of Write.
func TestDestinationFunc_nil(t *testing.T) {
	d := funnel.DestinationFunc(nil)
	out := fake.Node(funnel.NewDestinationTask("out", d, log.Nop(), nil))
	_, err := funnel.NewWorker(fake.Chain(fake.From(fake.SourceOf(&fake.Journal{})), out), nil, log.Nop(), nil)
	fake.WantError(t, err, nil, "write function", "nil")
	fake.WantTask(t, err, "out")
	fake.WantError(t, d.Open(t.Context()), nil, "write function")
	fake.WantError(t, d.Write(t.Context(), fake.Numbered(1)), nil, "write function")
}

func TestRecordErrors(t *testing.T) {
	errA, errB := errors.New("a"), errors.New("b")
	for _, tt := range []struct {
		errs funnel.RecordErrors
		text string
		n    int
	}{
		{nil, "0 of 0 records were refused", 0},
		{funnel.RecordErrors{nil, nil}, "0 of 2 records were refused", 0},
		{funnel.RecordErrors{nil, errA, nil, errB}, "2 of 4 records were refused, first record 1: a", 2},
	} {
		if tt.errs.Error() != tt.text || len(tt.errs.Unwrap()) != tt.n {
			t.Errorf("%q, %v", tt.errs, tt.errs.Unwrap())
		}
		if errors.Is(tt.errs, errB) != (tt.n == 2) {
			t.Errorf("%q wraps the wrong errors", tt.errs)
		}
	}
}
