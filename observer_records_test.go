package funnel_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// reader is an observer that sees the records of batches, and which of them were aborted.
type reader struct {
	naming
	panics string // the event that panics
}

func (r reader) RecordsRead(ctx context.Context, e funnel.BatchRead, records []opencdc.Record) context.Context {
	if e.Records < len(records) || len(records) != cap(records) {
		panic("the slice of records is not clipped")
	}
	return r.add(ctx, "read "+strings.Join(fake.Positions(records), ","))
}

func (r reader) BatchDone(ctx context.Context, e funnel.BatchDone) {
	if r.panics == "end" {
		panic("end")
	}
	r.naming.BatchDone(ctx, e)
}

func (r reader) BatchAborted(ctx context.Context) { r.add(ctx, "aborted") }

// An observer that wants the records gets those that are active, in place of BatchRead. It
// can be anywhere among several observers.
func TestRecordsObserver(t *testing.T) {
	fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
		j, events := &fake.Journal{}, &fake.Journal{}
		first := fake.FromThen(fake.SourceOf(j, "1 2 3"), func(_ context.Context, b *funnel.Batch) error {
			if b.HasActiveRecords() {
				b.Filter(1)
			}
			return nil
		})
		w, err := funnel.NewWorker(fake.Chain(first, fake.Out(j)), nil, log.Nop(), nil, append(opts,
			funnel.WithObserver(naming{"a", events}),
			funnel.WithObserver(reader{naming: naming{"b", events}}),
			funnel.WithObserver(naming{"c", events}),
			funnel.WithObserver(reader{naming: naming{"d", events}}))...)
		fake.WantNoError(t, err)
		fake.WantNoError(t, fake.RunWorker(t, w))
		fake.WantLines(t, events.Lines("")[:4], "a read sees ", "b read 1,3 sees a", "c read sees ab", "d read 1,3 sees abc")
		for _, line := range events.Lines("") {
			if strings.Contains(line, "aborted") {
				t.Errorf("a batch was aborted: %s", line)
			}
		}
	})
}

// An observer hears of a batch that a panic or Goexit ends, wherever it comes from, once all
// tasks have ended.
func TestAbortObserver(t *testing.T) {
	for name, tt := range map[string]struct {
		do     func()
		panics string
		want   []string
	}{
		"panic":           {do: func() { panic("test") }, want: []string{"b aborted sees ab", "a aborted sees ab"}},
		"goexit":          {do: runtime.Goexit, want: []string{"b aborted sees ab", "a aborted sees ab"}},
		"own panic":       {do: func() {}, panics: "end", want: []string{"b aborted sees ab", "a aborted sees ab"}},
		"ended, no panic": {do: func() {}, want: []string{"b end sees ab", "a end sees ab"}},
	} {
		t.Run(name, func(t *testing.T) {
			fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
				j, events := &fake.Journal{}, &fake.Journal{}
				task := fake.Custom("t", func(context.Context, *funnel.Batch) error { tt.do(); return nil })
				w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), task), nil, append(opts,
					funnel.WithObserver(reader{naming{"a", events}, tt.panics}), funnel.WithObserver(reader{naming{"b", events}, tt.panics}))...)
				<-fake.Call(func() error { return w.Do(t.Context()) })
				fake.WantNoError(t, w.Close(t.Context()))
				var got []string
				for _, line := range events.Lines("") {
					if strings.Contains(line, "aborted") || strings.Contains(line, "end") {
						got = append(got, line)
					}
				}
				fake.WantLines(t, got, tt.want...)
			})
		})
	}

	// On a branch, the other one ends first.
	j, events := &fake.Journal{}, &fake.Journal{}
	begun := make(chan bool)
	waits := fake.Custom("waits", func(ctx context.Context, _ *funnel.Batch) error {
		close(begun)
		<-ctx.Done()
		events.Add("ended")
		return ctx.Err()
	})
	panics := fake.Custom("panics", func(context.Context, *funnel.Batch) error { <-begun; panic("test") })
	w := fake.NewWorker(t, fake.Fork(fake.From(fake.SourceOf(j, "1")), waits, panics), nil, funnel.WithObserver(reader{naming: naming{"a", events}}))
	<-fake.Call(func() error { return w.Do(t.Context()) })
	fake.WantNoError(t, w.Close(t.Context()))
	lines := events.Lines("")
	fake.WantLines(t, lines[len(lines)-3:], "ended", "a done sees aa", "a aborted sees a")
}

// placing is an observer that records calls of tasks, and who has settled records.
type placing struct {
	funnel.NopObserver
	journal *fake.Journal
}

func (p placing) TaskBegin(ctx context.Context, e funnel.TaskBegin) context.Context {
	p.journal.Add("task", e.TaskID, fmt.Sprintf("%d<%d", e.Call, e.DividedBy))
	return ctx
}

func (p placing) RecordsAcked(_ context.Context, e funnel.RecordsAcked) {
	if e.Outside {
		p.journal.Add("outside acked")
	}
}

func (p placing) DeadLettersWritten(_ context.Context, e funnel.DeadLettersWritten) {
	if e.Outside {
		p.journal.Add("outside dead")
	}
}

// The events say by which call records were divided, and what the host has settled itself.
func TestWithObserver_places(t *testing.T) {
	j, events := &fake.Journal{}, &fake.Journal{}
	p := fake.ByPosition(fake.Answers{"2": fake.SecondTime(fake.Pass), "4": fake.Fail})
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2 3 4 5")), fake.Through("p", p), fake.Out(j)), fake.DLQ(j),
		funnel.WithObserver(placing{journal: events}))
	fake.WantNoError(t, fake.RunWorker(t, w))
	events.Want(t, "", "task p 1<0", "task out 2<1", "task p 3<1", "task out 4<1", "task out 5<1", "task out 6<1")
	events.Clear()
	fake.WantNoError(t, w.Nack(t.Context(), funnel.NewBatch(fake.Records("6")), "p"))
	fake.WantNoError(t, w.Ack(t.Context(), funnel.NewBatch(fake.Records("7"))))
	events.Want(t, "", "outside dead", "outside acked", "outside acked")
}
