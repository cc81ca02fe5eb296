package funnel_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// naming is an observer that adds its name to the context and to each event.
type naming struct {
	name    string
	journal *fake.Journal
}

func (n naming) add(ctx context.Context, event string) context.Context {
	seen, _ := ctx.Value(ctxKey("names")).(string)
	n.journal.Add(n.name, event, "sees", seen)
	return context.WithValue(ctx, ctxKey("names"), seen+n.name)
}

func (n naming) BatchRead(ctx context.Context, _ funnel.BatchRead) context.Context {
	return n.add(ctx, "read")
}

func (n naming) TaskBegin(ctx context.Context, _ funnel.TaskBegin) context.Context {
	return n.add(ctx, "begin")
}
func (n naming) TaskDone(ctx context.Context, _ funnel.TaskDone)         { n.add(ctx, "done") }
func (n naming) BatchDivided(ctx context.Context, _ funnel.BatchDivided) { n.add(ctx, "divided") }
func (n naming) DeadLettersWritten(ctx context.Context, _ funnel.DeadLettersWritten) {
	n.add(ctx, "letters")
}
func (n naming) RecordsAcked(ctx context.Context, _ funnel.RecordsAcked) { n.add(ctx, "acked") }
func (n naming) BatchDone(ctx context.Context, _ funnel.BatchDone)       { n.add(ctx, "end") }

// Several observers get each event. What ends goes the other way round.
func TestWithObserver_several(t *testing.T) {
	j, events := &fake.Journal{}, &fake.Journal{}
	refuse := fake.Through("p", fake.Each(func(rec opencdc.Record) sdk.ProcessedRecord {
		if string(rec.Position) == "2" {
			return sdk.ErrorRecord{Error: fake.ErrTest}
		}
		return sdk.SingleRecord(rec)
	}))
	nodes := fake.Chain(fake.From(fake.SourceOf(j, "1 2 3")), refuse, fake.To(fake.NewDestination(j, "out")))
	w, err := funnel.NewWorker(nodes, fake.DLQ(j), log.Nop(), nil,
		funnel.WithObserver(naming{"a", events}), funnel.WithObserver(naming{"b", events}), funnel.WithObserver(naming{"c", events}))
	fake.WantNoError(t, err)
	fake.WantNoError(t, fake.RunWorker(t, w))
	const batch, task = "abc", "abcabc" // the names in their contexts
	outside := []string{"a acked sees ", "b acked sees ", "c acked sees "}
	call := []string{
		"a begin sees " + batch, "b begin sees " + batch + "a", "c begin sees " + batch + "ab",
		"c done sees " + task, "b done sees " + task, "a done sees " + task,
	}
	events.Want(t, "", slices.Concat(
		[]string{"a read sees ", "b read sees a", "c read sees ab"},
		call,
		[]string{"a divided sees " + batch, "b divided sees " + batch, "c divided sees " + batch},
		call,
		outside,
		[]string{"a letters sees ", "b letters sees ", "c letters sees "},
		outside,
		call,
		outside,
		[]string{"c end sees " + batch, "b end sees " + batch, "a end sees " + batch},
	)...)
}

// hasErrors is a destination with a channel of errors.
type hasErrors struct {
	funnel.Destination
	errs chan error
}

func (d hasErrors) Errors() <-chan error { return d.errs }

// A host gets the errors of a destination from its task, or from the queue.
func TestDestinationTask_errors(t *testing.T) {
	d := hasErrors{errs: make(chan error, 1)}
	for _, from := range []interface{ Errors() <-chan error }{
		funnel.NewDestinationTask("out", d, log.Nop(), nil),
		funnel.NewDLQ("dlq", d, log.Nop(), nil, 0, 0),
	} {
		d.errs <- fake.ErrTest
		if err := <-from.Errors(); !errors.Is(err, fake.ErrTest) {
			t.Errorf("%T: got %v", from, err)
		}
	}
}
