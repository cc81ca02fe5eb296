package funnel_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/internal/fake"
)

// The PanicError of a panic holds the errors that were known before it.
func TestWorker_panicHidesNothing(t *testing.T) {
	known, boom := errors.New("known before"), errors.New("boom")
	for _, tt := range []struct {
		where string
		known error
	}{
		{"a branch", known}, {"a part", funnel.ErrProcessorResults}, {"release after a branch", known},
		{"ack after the queue", known}, {"read after an ack", io.EOF},
	} {
		t.Run(tt.where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &fake.Journal{}
				source, a, b := fake.SourceOf(j, "1 2"), fake.NewDestination(j, "a"), fake.NewDestination(j, "b")
				dead := fake.NewDestination(j, "dlq")
				nodes := []*funnel.TaskNode{fake.To(a), fake.To(b)}
				meet := fake.Meeting(2)
				switch tt.where {
				case "a branch":
					a.OnWrite = func(context.Context, []opencdc.Record) error { meet(); return known }
					b.OnWrite = func(ctx context.Context, _ []opencdc.Record) error { meet(); <-ctx.Done(); panic(boom) }
				case "a part":
					failed := make(chan struct{})
					nodes = []*funnel.TaskNode{fake.Chain(fake.Through("p", fake.Parallel(t, func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
						if string(recs[0].Position) == "1" {
							defer close(failed)
							return nil
						}
						<-failed
						synctest.Wait()
						panic(boom)
					}, 2)), nodes[0])}
				case "release after a branch":
					delivered := make(chan struct{})
					b.OnAck = func(context.Context) ([]connector.DestinationAck, error) {
						defer close(delivered)
						return b.Pending, nil
					}
					a.OnWrite = func(_ context.Context, recs []opencdc.Record) error {
						if string(recs[0].Position) == "2" {
							<-delivered
							synctest.Wait() // until the other branch has settled its records
							return known
						}
						return nil
					}
					nodes[0] = fake.Chain(fake.Through("p", fake.ByPosition(fake.Answers{"2": fake.SecondTime(fake.Pass)})), nodes[0])
					source.OnAck = func(context.Context, []opencdc.Position) error { panic(boom) }
				case "ack after the queue":
					nodes = []*funnel.TaskNode{fake.Chain(fake.Through("p", fake.Each(fake.Fail)), nodes[0])}
					dead.Refuse["2"] = known
					source.OnAck = func(context.Context, []opencdc.Position) error { panic(boom) }
				case "read after an ack":
					nodes = nodes[:1]
					source.OnAck = func(context.Context, []opencdc.Position) error { return io.EOF }
					reads := 0
					source.OnRead = func(context.Context) ([]opencdc.Record, error) {
						if reads++; reads > 1 {
							panic(boom)
						}
						return fake.Records("1", "2"), nil
					}
				}
				w := fake.NewWorker(t, fake.Fork(fake.From(source), nodes...), fake.Queue(dead))
				e := <-fake.Start(t.Context(), w)
				e.WantPanic(t, boom)
				if p, ok := e.Panic.(*funnel.PanicError); ok && (!errors.Is(p.Err, tt.known) || !errors.Is(p, tt.known)) {
					t.Errorf("the panic holds %v", p.Err)
				}
				fake.WantNoError(t, w.Close(t.Context()))
			})
		})
	}
}
