package fake

import (
	"context"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
)

// Processor is a processor that is one function.
type Processor func(context.Context, []opencdc.Record) []sdk.ProcessedRecord

// Open does nothing.
func (p Processor) Open(context.Context) error { return nil }

// Teardown does nothing.
func (p Processor) Teardown(context.Context) error { return nil }

// Process calls the function.
func (p Processor) Process(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
	return p(ctx, recs)
}

// Each returns a processor that answers for each record by itself.
func Each(answer func(opencdc.Record) sdk.ProcessedRecord) Processor {
	return func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		results := make([]sdk.ProcessedRecord, len(recs))
		for i, rec := range recs {
			results[i] = answer(rec)
		}
		return results
	}
}

// Answers are the answers of a processor by the position of the record.
type Answers = map[string]func(opencdc.Record) sdk.ProcessedRecord

// ByPosition returns a processor with these answers. It returns other records as
// they are.
func ByPosition(answers Answers) Processor {
	return Each(func(rec opencdc.Record) sdk.ProcessedRecord {
		if answer, ok := answers[string(rec.Position)]; ok {
			return answer(rec)
		}
		return sdk.SingleRecord(rec)
	})
}

// AtMost returns a processor that passes the first n records of each call and gives
// no answer for the others.
func AtMost(n int) Processor {
	return func(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		return Each(Pass)(ctx, recs[:min(n, len(recs))])
	}
}

// Pass answers with the record as it is.
func Pass(rec opencdc.Record) sdk.ProcessedRecord { return sdk.SingleRecord(rec) }

// Filter filters the record.
func Filter(opencdc.Record) sdk.ProcessedRecord { return sdk.FilterRecord{} }

// Fail nacks the record with its [ErrOf].
func Fail(rec opencdc.Record) sdk.ProcessedRecord {
	return sdk.ErrorRecord{Error: ErrOf(string(rec.Position))}
}

// FailWith nacks each record with the error.
func FailWith(err error) func(opencdc.Record) sdk.ProcessedRecord {
	return func(opencdc.Record) sdk.ProcessedRecord { return sdk.ErrorRecord{Error: err} }
}

// Split splits the record into n [Pieces].
func Split(n int) func(opencdc.Record) sdk.ProcessedRecord {
	return func(rec opencdc.Record) sdk.ProcessedRecord { return Pieces(rec, n) }
}

// SecondTime gives no answer at its first call, and the answer of the function from
// then on. It is good for one record.
func SecondTime(answer func(opencdc.Record) sdk.ProcessedRecord) func(opencdc.Record) sdk.ProcessedRecord {
	asked := false
	return func(rec opencdc.Record) sdk.ProcessedRecord {
		if !asked {
			asked = true
			return nil
		}
		return answer(rec)
	}
}

// Returns returns a processor that returns the same results at each call.
func Returns(results ...sdk.ProcessedRecord) Processor {
	return func(context.Context, []opencdc.Record) []sdk.ProcessedRecord { return results }
}

// Concurrent is a Processor that several goroutines may call at a time.
type Concurrent struct{ Processor }

// IsConcurrent returns true.
func (Concurrent) IsConcurrent() bool { return true }

// Parallel returns a processor that runs p on the given number of workers.
func Parallel(t testing.TB, p Processor, workers int) funnel.Processor {
	t.Helper()
	processor, err := funnel.NewParallelProcessor(Concurrent{p}, workers)
	if err != nil {
		t.Fatal(err)
	}
	return processor
}
