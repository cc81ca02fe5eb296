package docs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"
	"go.uber.org/mock/gomock"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
	"github.com/conduitio/funnel/funneltest"
	"github.com/conduitio/funnel/funneltest/funnelmock"
)

func testedShout(r opencdc.Record) (opencdc.Record, error) {
	if r.Payload.After == nil || len(r.Payload.After.Bytes()) == 0 {
		return r, errors.New("nothing to shout")
	}
	r.Payload.After = opencdc.RawData(bytes.ToUpper(r.Payload.After.Bytes()))
	return r, nil
}

func TestShout(t *testing.T) {
	result := funneltest.Run(t, funnel.Through("shout", funnel.Map(testedShout)), funneltest.Records("hear", "", "me")...)
	result.WantErr(t, nil)
	result.Want(t, "out", "HEAR", "ME")
	result.WantDeadLetters(t, "nothing to shout")
}

func testedPipeline(source funnel.Source, table funnel.Destination) *funnel.Pipeline {
	return funnel.From("orders", source).
		Through("shout", funnel.Map(testedShout)).
		To("table", table)
}

func TestPipeline_resumes(t *testing.T) {
	source := &funneltest.Source{Batches: [][]opencdc.Record{
		funneltest.Records("a", "b"), // of the first read
		funneltest.Records("c"),
	}}
	down := &funneltest.Destination{WriteErr: io.ErrClosedPipe}
	funneltest.Run(t, testedPipeline(source, down)).WantErr(t, io.ErrClosedPipe)
	source.WantAcked(t)

	table := &funneltest.Destination{}
	funneltest.Run(t, testedPipeline(source, table)).WantErr(t, nil)
	table.Want(t, "A", "B", "C")
	source.WantAcked(t, "1", "2", "3")
}

func TestPipeline_refused(t *testing.T) {
	table := &funneltest.Destination{Refuse: func(r opencdc.Record) error {
		if funneltest.Payload(r) == "B" {
			return errors.New("there is a B already")
		}
		return nil
	}}
	result := funneltest.Run(t, funnel.Through("shout", funnel.Map(testedShout)).To("table", table),
		funneltest.Records("a", "b", "c")...)
	result.Want(t, "table", "A", "C")
	result.WantDeadLetters(t, "there is a B already")
	result.WantAcked(t, "1", "2", "3")
}

func TestPipeline_outage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		service := &funneltest.Processor{Answer: func(r opencdc.Record) sdk.ProcessedRecord {
			if time.Since(start) < 5*time.Second {
				return nil // no answer yet
			}
			return sdk.SingleRecord(r)
		}}
		result := funneltest.Run(t, funnel.Through("service", service), funneltest.Records("a", "b")...)
		result.WantErr(t, nil)
		result.Want(t, "out", "a", "b")
	})
}

func TestPipeline_stops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := funneltest.NewSource(funneltest.Records("a", "b")...)
		source.Blocks = true // wait for more, like a real source
		table := &funneltest.Destination{Delay: time.Minute}
		worker, err := testedPipeline(source, table).Worker()
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- worker.Run(t.Context()) }()

		synctest.Wait() // now the write is under way
		if err := errors.Join(worker.Stop(t.Context()), <-done); err != nil {
			t.Error(err)
		}
		table.Want(t, "A", "B")
		source.WantAcked(t, "1", "2")
	})
}

func TestPipeline_hangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := funneltest.NewSource(funneltest.Records("a")...)
		worker, err := testedPipeline(source, &funneltest.Destination{Hangs: true}).Worker()
		if err != nil {
			t.Fatal(err)
		}
		running, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- worker.Run(running) }()

		synctest.Wait()
		patience, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		if err := worker.Stop(patience); err == nil || !strings.Contains(err.Error(), `"table"`) {
			t.Errorf("the error of Stop does not say what hangs: %v", err)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		source.WantAcked(t)
	})
}

func TestPipeline_calls(t *testing.T) {
	ctrl := gomock.NewController(t)
	source, table := funnelmock.NewMockSource(ctrl), funnelmock.NewMockDestination(ctrl)
	record := funneltest.Record("a")
	record.Position = opencdc.Position("1")
	gomock.InOrder(
		source.EXPECT().Open(t.Context()).Return(nil),
		table.EXPECT().Open(t.Context()).Return(nil),
		source.EXPECT().Read(t.Context()).Return([]opencdc.Record{record}, io.EOF),
		table.EXPECT().Write(t.Context(), gomock.Len(1)).Return(nil),
		table.EXPECT().Ack(t.Context()).Return([]connector.DestinationAck{{Position: record.Position}}, nil),
		source.EXPECT().Ack(t.Context(), []opencdc.Position{record.Position}).Return(nil),
		source.EXPECT().Teardown(gomock.Any()).Return(nil),
		table.EXPECT().Teardown(gomock.Any()).Return(nil),
	)
	if err := testedPipeline(source, table).Run(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestShout_contract(t *testing.T) {
	funneltest.TestProcessor(t, funneltest.ProcessorConformance{
		New:    func(testing.TB) funnel.Processor { return funnel.Map(testedShout) },
		Record: func(i int) opencdc.Record { return funneltest.Record([]string{"hear", "", "me"}[i%3]) },
	})
}

func TestWords_contract(t *testing.T) {
	funneltest.TestSource(t, funneltest.SourceConformance{
		New: func(testing.TB) funnel.Source { // put your source here
			return funnel.SliceSource(funneltest.Records("a", "b", "c", "d")...)
		},
		Records:       4,
		AckDuringRead: true, // the source may be used with WithReadAhead
	})
}

// testedStamp is a destination with a fault: it changes records that others may share.
type testedStamp struct{ funneltest.Destination }

func (d *testedStamp) Write(ctx context.Context, records []opencdc.Record) error {
	for _, r := range records {
		r.Metadata["stamp"] = "seen"
	}
	return d.Destination.Write(ctx, records)
}

func TestOwnership(t *testing.T) {
	var faults []string
	report := func(err error) { faults = append(faults, err.Error()) } // usually t.Error(err)
	err := testedPipeline(funneltest.NewSource(funneltest.Record("a")), &testedStamp{}).
		Options(funnel.WithOwnershipChecks(report)).
		Run(t.Context())
	if err != nil {
		t.Error(err)
	}
	if len(faults) != 1 || !strings.Contains(faults[0], `task "table": the destination has changed`) {
		t.Errorf("faults: %q", faults)
	}
}
