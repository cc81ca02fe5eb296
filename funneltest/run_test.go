package funneltest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/funneltest"
)

var errTest = errors.New("test error")

// answering does with each record what its payload says.
func answering() *funneltest.Processor {
	return &funneltest.Processor{Answer: func(r opencdc.Record) sdk.ProcessedRecord {
		switch word := funneltest.Payload(r); word {
		case "filter":
			return sdk.FilterRecord{}
		case "nack":
			return sdk.ErrorRecord{Error: errTest}
		case "split":
			pieces := sdk.MultiRecord{funneltest.Record("left"), funneltest.Record("right")}
			pieces[0].Position, pieces[1].Position = r.Position, r.Position
			return pieces
		default:
			r.Payload.After = opencdc.RawData(strings.ToUpper(word))
			return sdk.SingleRecord(r)
		}
	}}
}

// failures is a testing.TB that only keeps what went wrong.
type failures struct {
	testing.TB
	texts []string
}

func (f *failures) Helper() {}
func (f *failures) Errorf(format string, args ...any) {
	f.texts = append(f.texts, fmt.Sprintf(format, args...))
}
func (f *failures) Fatal(args ...any) {
	f.Fatalf("%s", fmt.Sprint(args...))
}
func (f *failures) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	panic(f)
}

// failing returns what a test says that fails.
func failing(t *testing.T, test func(t testing.TB)) string {
	t.Helper()
	f := &failures{TB: t}
	func() {
		defer func() {
			if value := recover(); value != nil && value != any(f) {
				panic(value)
			}
		}()
		test(f)
	}()
	if len(f.texts) == 0 {
		t.Error("the test does not fail")
	}
	return strings.Join(f.texts, "\n")
}

func want(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%q does not say %q", text, word)
		}
	}
}

func TestRun(t *testing.T) {
	p := funnel.Through("p", answering())
	r := funneltest.Run(t, p, funneltest.Records("a", "filter", "nack", "split", "b")...)
	r.WantErr(t, nil)
	r.Want(t, "out", "A", "left", "right", "B")
	r.WantDeadLetters(t, "test error")
	r.WantAcked(t, "1", "2", "3", "4", "5")
	if letter := r.DeadLetters[0]; letter.TaskID != "p" || !bytes.Contains(letter.Record.Payload.After.Bytes(), []byte("after")) {
		t.Errorf("the dead letter is %v", letter)
	}
	if len(r.Written) != 1 {
		t.Errorf("written: %v", r.Written)
	}
	// The pipeline has not changed: it has neither a source nor an end.
	_, err := p.Worker()
	if err == nil || p.HasSource() {
		t.Errorf("the pipeline is complete now: %v", err)
	}
	funneltest.Run(t, p, funneltest.Record("c")).Want(t, "out", "C")
}

// What a pipeline has is used, what it lacks is added.
func TestRun_completes(t *testing.T) {
	table, queue := &funneltest.Destination{}, &funneltest.Destination{}
	source := funneltest.NewSource(funneltest.Records("a", "nack", "b")...)
	p := funnel.From("mine", source).Fork(
		funnel.To("table", table),
		funnel.Through("p", answering()),
		funnel.Through("q", &funneltest.Processor{}),
	).DeadLetters("queue", queue, 10, 1)
	r := funneltest.Run(t, p)
	r.WantErr(t, nil)
	r.Want(t, "table", "a", "nack", "b")
	r.Want(t, "out of p", "A", "B")
	r.Want(t, "out of q", "a", "nack", "b")
	r.WantDeadLetters(t, "test error")
	table.Want(t, "a", "nack", "b")
	source.WantAcked(t, "1", "2", "3")
	if len(queue.Records()) != 1 || r.Acked != nil || table.IsOpen() || source.IsOpen() {
		t.Errorf("the queue has %v, acked %v", queue.Records(), r.Acked)
	}
	if r := funneltest.Run(t, funnel.Through("p", answering())); r.Err != nil || len(r.Written) > 0 || len(r.Acked) > 0 {
		t.Errorf("without records: %+v", r)
	}
}

// Refused records are not written. An error is a result.
func TestRun_fails(t *testing.T) {
	out := &funneltest.Destination{Refuse: func(r opencdc.Record) error {
		if funneltest.Payload(r) == "b" {
			return errTest
		}
		return nil
	}}
	r := funneltest.Run(t, funnel.To("table", out), funneltest.Records("a", "b", "c")...)
	r.Want(t, "table", "a", "c")
	r.WantDeadLetters(t, "test error")
	r = funneltest.Run(t, funnel.To("table", &funneltest.Destination{WriteErr: errTest}), funneltest.Record("a"))
	r.WantErr(t, errTest)
	r.Want(t, "table")
	r.WantAcked(t)
	r = funneltest.Run(t, funnel.To("table", &funneltest.Destination{Refuse: func(opencdc.Record) error { return errTest }}).
		DeadLetters("queue", &funneltest.Destination{}, 10, 0), funneltest.Record("a"))
	r.WantErr(t, errTest)
	for _, none := range []funnel.Destination{nil, (*funneltest.Destination)(nil)} {
		r = funneltest.Run(t, funnel.To("table", none), funneltest.Record("a"))
		if r.Err == nil || !strings.Contains(r.Err.Error(), "destination is nil") {
			t.Errorf("a nil destination: %v", r.Err)
		}
	}
}

// greedy is a destination that keeps the slice of a write, and changes it in the next one.
type greedy struct {
	funneltest.Destination
	kept []opencdc.Record
}

func (d *greedy) Write(ctx context.Context, records []opencdc.Record) error {
	if len(d.kept) > 0 {
		d.kept[0].Metadata = opencdc.Metadata{"stolen": "yes"}
	}
	d.kept = records
	return d.Destination.Write(ctx, records)
}

func TestRun_ownership(t *testing.T) {
	source := &funneltest.Source{Batches: [][]opencdc.Record{funneltest.Records("a"), funneltest.Records("b")}}
	want(t, failing(t, func(t testing.TB) {
		funneltest.Run(t, funnel.From("source", source).To("greedy", &greedy{}))
	}), "ownership", "greedy")
}

func TestRun_misused(t *testing.T) {
	source := funneltest.NewSource()
	want(t, failing(t, func(t testing.TB) {
		funneltest.Run(t, funnel.From("source", source).To("out", &funneltest.Destination{}), funneltest.Record("a"))
	}), "has a source")
	want(t, failing(t, func(t testing.TB) { funneltest.Run(t, nil) }), "nil")
	want(t, failing(t, func(t testing.TB) {
		funneltest.Run(t, funnel.To("out", &funneltest.Destination{}).DeadLetters("out", &funneltest.Destination{}, 0, 0))
	}), "two destinations", `"out"`)
}

// Failures show the difference.
func TestResult_Want(t *testing.T) {
	r := funneltest.Run(t, funnel.To("table", &funneltest.Destination{}), funneltest.Records("a", "b", "", "a b ", "c")...)
	got := failing(t, func(t testing.TB) { r.Want(t, "table", "a", "", "a b", "c", "d") })
	wantText := `the payloads of the records in "table" differ (- missing, + unexpected):
    a
  + b
    ""
  - a b
  + "a b "
    c
  - d`
	if got != wantText {
		t.Errorf("got %s\nwant %s", got, wantText)
	}
	want(t, failing(t, func(t testing.TB) { r.Want(t, "tabel") }), `no destination has the ID "tabel"`, `["table"]`)
	want(t, failing(t, func(t testing.TB) { r.WantAcked(t, "1") }), "+ 2")
	want(t, failing(t, func(t testing.TB) { r.WantDeadLetters(t, "no") }), "- no")
	want(t, failing(t, func(t testing.TB) { r.WantErr(t, errTest) }), "has not failed", "test error")
	failed := funneltest.Run(t, funnel.To("table", &funneltest.Destination{WriteErr: errTest}), funneltest.Record("a"))
	for _, look := range []func(testing.TB){
		func(t testing.TB) { failed.Want(t, "table") },
		func(t testing.TB) { failed.WantDeadLetters(t) },
		func(t testing.TB) { failed.WantAcked(t) },
	} {
		want(t, failing(t, look), "has failed", "test error", "WantErr")
	}
	failed.WantErr(t, errTest)
	failed.Want(t, "table")
	want(t, failing(t, func(t testing.TB) { failed.Want(t, "tabel") }), `no destination has the ID "tabel"`)
	r.Err = context.Canceled
	want(t, failing(t, func(t testing.TB) { r.WantErr(t, errTest) }), "canceled", "is not")
	want(t, failing(t, func(t testing.TB) { r.WantErr(t, nil) }), "has failed", "canceled")
}

// Records are compared as text.
func TestPayload(t *testing.T) {
	records := []opencdc.Record{
		funneltest.Record("raw"),
		{},
		{Payload: opencdc.Change{After: opencdc.StructuredData{"b": 1, "a": []any{"x"}}}},
		{Payload: opencdc.Change{After: opencdc.StructuredData{"c": func() {}}}},
	}
	got := funneltest.Payloads(records)
	if !slices.Equal(got[:3], []string{"raw", "", `{"a":["x"],"b":1}`}) || !strings.HasPrefix(got[3], "map[c:") {
		t.Errorf("%q", got)
	}
}

func TestExampleRun(t *testing.T) { testShout(t) }

// Long texts are compared in little memory.
func TestResult_long(t *testing.T) {
	var payloads, other []string
	for i := range 30_000 {
		payloads, other = append(payloads, fmt.Sprint(i)), append(other, fmt.Sprint(i+1))
	}
	r := funneltest.Run(t, funnel.To("table", &funneltest.Destination{}), funneltest.Records(payloads...)...)
	changed := slices.Clone(payloads)
	changed[15_000] = "x"
	got := failing(t, func(t testing.TB) { r.Want(t, "table", changed...) })
	wantText := `the payloads of the records in "table" differ (- missing, + unexpected):
    (14995 more)
    14995
    14996
    14997
    14998
    14999
  - x
  + 15000
    15001
    15002
    15003
    15004
    15005
    (14994 more)`
	if got != wantText {
		t.Errorf("got %s\nwant %s", got, wantText)
	}
	want(t, failing(t, func(t testing.TB) { r.Want(t, "table", other...) }), "- 1\n", "+ 0\n")
}
