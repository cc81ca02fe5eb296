package funneltest_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/funneltest"
)

// The connectors and processors of this module keep the contracts.

func numbered(n int) []opencdc.Record {
	var payloads []string
	for i := range n {
		payloads = append(payloads, fmt.Sprint("payload ", i))
	}
	return funneltest.Records(payloads...)
}

func TestOwnSources(t *testing.T) {
	fake := func() *funneltest.Source {
		s := &funneltest.Source{Blocks: true}
		for _, r := range numbered(10) {
			s.Batches = append(s.Batches, []opencdc.Record{r})
		}
		return s
	}
	withoutAcks := []string{ // what was read and not acked is not read again
		"order_is_the_same_after_reopening", "unacked_records_are_read_again", "acked_records_are_not_read_again",
		"everything_can_be_acked", "cancelled_read_loses_nothing", "returned_records_are_not_returned_again",
	}
	for name, s := range map[string]funneltest.SourceConformance{
		"funneltest.Source": {New: func(testing.TB) funnel.Source { return fake() }, AckDuringRead: true},
		"funneltest.Source that ends": {
			New: func(testing.TB) funnel.Source { return funneltest.NewSource(numbered(10)...) }, AckDuringRead: true,
		},
		"SliceSource": {New: func(testing.TB) funnel.Source { return funnel.SliceSource(numbered(10)...) }, AckDuringRead: true},
		"NewBatchingSource": {
			New: func(testing.TB) funnel.Source {
				return funnel.NewBatchingSource(fake(), funnel.BatchPolicy{Records: 3, Period: time.Millisecond})
			},
			AckDuringRead: true,
		},
		"NewChannelSource": {New: func(testing.TB) funnel.Source {
			records := make(chan opencdc.Record, 10)
			for _, r := range numbered(10) {
				records <- r
			}
			return funnel.NewChannelSource(records)
		}, AckDuringRead: true},
		"SourceFunc": {New: func(testing.TB) funnel.Source {
			n := 0
			return funnel.SourceFunc(func(ctx context.Context) ([]opencdc.Record, error) {
				if n++; n > 10 {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				r := numbered(1)[0]
				r.Position = fmt.Append(nil, n)
				return []opencdc.Record{r}, nil
			})
		}, AckDuringRead: true, Skip: withoutAcks},
	} {
		s.Timeout = 4 * time.Second
		t.Run(name, func(t *testing.T) { funneltest.TestSource(t, s) })
	}
}

func TestOwnDestinations(t *testing.T) {
	refused := funneltest.Record("refused")
	refuses := func(r opencdc.Record) error {
		if r.Payload.After != nil && bytes.Equal(r.Payload.After.Bytes(), refused.Payload.After.Bytes()) {
			return errTest
		}
		return nil
	}
	fake := func() *funneltest.Destination { return &funneltest.Destination{Refuse: refuses} }
	function := func() funnel.Destination {
		return funnel.DestinationFunc(func(ctx context.Context, records []opencdc.Record) error {
			errs := make(funnel.RecordErrors, len(records))
			for i, r := range records {
				errs[i] = refuses(r)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return errs
		})
	}
	for name, newOne := range map[string]func() funnel.Destination{
		"funneltest.Destination": func() funnel.Destination { return fake() },
		"funneltest.Destination with an ack at a time": func() funnel.Destination {
			d := fake()
			d.AckAtMost = 1
			return d
		},
		"DestinationFunc":       function,
		"NewLimitedDestination": func() funnel.Destination { return funnel.NewLimitedDestination(fake(), funnel.WriteLimit{Records: 2}) },
		"NewRetryDestination": func() funnel.Destination {
			return funnel.NewRetryDestination(fake(), funnel.DestinationRetry{MinPause: 1, MaxPause: 1})
		},
		"NewPartitionedDestination": func() funnel.Destination {
			return funnel.NewPartitionedDestination(3, func(r opencdc.Record) string { return string(r.Position) },
				func(int) (funnel.Destination, error) { return fake(), nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			funneltest.TestDestination(t, funneltest.DestinationConformance{
				New:     func(testing.TB) funnel.Destination { return newOne() },
				Refused: func() opencdc.Record { return refused.Clone() },
				Timeout: 4 * time.Second,
			})
		})
	}
	t.Run("NewChannelDestination", func(t *testing.T) {
		var records chan opencdc.Record
		var all []opencdc.Record
		funneltest.TestDestination(t, funneltest.DestinationConformance{
			New: func(testing.TB) funnel.Destination {
				records, all = make(chan opencdc.Record, 1000), nil
				return funnel.NewChannelDestination(records)
			},
			Stored: func(testing.TB, funnel.Destination) []opencdc.Record {
				for {
					select {
					case r := <-records:
						all = append(all, r)
					default:
						return all
					}
				}
			},
			Timeout: 4 * time.Second,
		})
	})
}

func TestOwnProcessors(t *testing.T) {
	kinds := func(i int) opencdc.Record {
		r := funneltest.Record([]string{"filter", "nack", "split", "a word"}[i%4])
		r.Metadata["own"] = "yes"
		return r
	}
	isWord := func(r opencdc.Record) bool { return funneltest.Payload(r) == "a word" }
	upper := func(r opencdc.Record) (opencdc.Record, error) {
		if !isWord(r) {
			return r, io.ErrUnexpectedEOF
		}
		r.Payload.After = opencdc.RawData(bytes.ToUpper(r.Payload.After.Bytes()))
		return r, nil
	}
	twice := func(r opencdc.Record) ([]opencdc.Record, error) { return []opencdc.Record{r, r}, nil }
	parallel := func(p funnel.Processor) funnel.Processor {
		p, err := funnel.NewParallelProcessor(funnel.Concurrent(p), 3)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for name, newOne := range map[string]func() funnel.Processor{
		"funneltest.Processor": func() funnel.Processor { return answering() },
		"ProcessorFunc": func() funnel.Processor {
			return funnel.ProcessorFunc(func(_ context.Context, r opencdc.Record) sdk.ProcessedRecord { return sdk.SingleRecord(r) })
		},
		"FromSDK": func() funnel.Processor {
			return funnel.FromSDK(sdk.NewProcessorFunc(sdk.Specification{Name: "same"},
				func(_ context.Context, r opencdc.Record) (opencdc.Record, error) { return r, nil }), nil)
		},
		"Filter":               func() funnel.Processor { return funnel.Filter(isWord) },
		"Map":                  func() funnel.Processor { return funnel.Map(upper) },
		"Split":                func() funnel.Processor { return funnel.Split(twice) },
		"Concurrent":           func() funnel.Processor { return funnel.Concurrent(funnel.Split(twice)) },
		"NewParallelProcessor": func() funnel.Processor { return parallel(funnel.Map(upper)) },
	} {
		t.Run(name, func(t *testing.T) {
			funneltest.TestProcessor(t, funneltest.ProcessorConformance{
				New:     func(testing.TB) funnel.Processor { return newOne() },
				Record:  kinds,
				Timeout: 4 * time.Second,
			})
		})
	}
}
