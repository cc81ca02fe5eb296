package funneltest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
)

// conformMaxUnanswered is the number of consecutive calls without an answer after which a
// processor has stopped answering.
const conformMaxUnanswered = 16

// fresh returns a new processor.
func (p conformProcessor) fresh(r *conformRun) funnel.Processor {
	proc := p.New(r.t)
	if proc == nil {
		r.fail("New returned nil")
	}
	return proc
}

// open returns a new processor that is open.
func (p conformProcessor) open(r *conformRun) funnel.Processor {
	proc := p.fresh(r)
	r.mustOpen(proc)
	return proc
}

// openConcurrent returns a new processor that is open and says that it is concurrent.
func (p conformProcessor) openConcurrent(r *conformRun) funnel.Processor {
	proc := p.fresh(r)
	concurrent, ok := proc.(funnel.ConcurrentProcessor)
	if !ok {
		r.skip("a %T is not a ConcurrentProcessor", proc)
	}
	r.call("IsConcurrent", func(context.Context) { ok = concurrent.IsConcurrent() })
	if !ok {
		r.skip("IsConcurrent returns false")
	}
	r.mustOpen(proc)
	return proc
}

// records returns records from begin to end, in a slice of exactly their number.
func (p conformProcessor) records(begin, end int) []opencdc.Record {
	return slices.Clip(conformRecords(p.Record, begin, end))
}

// process calls Process. It returns at most one result for each record.
func (p conformProcessor) process(
	r *conformRun,
	ctx context.Context,
	proc funnel.Processor,
	recs []opencdc.Record,
) []sdk.ProcessedRecord {
	var results []sdk.ProcessedRecord
	r.call(fmt.Sprintf("Process of %d records", len(recs)), func(context.Context) { results = proc.Process(ctx, recs) })
	return results[:min(len(results), len(recs))]
}

// answers passes records to Process, and again, until each has an answer.
func (p conformProcessor) answers(r *conformRun, proc funnel.Processor, recs []opencdc.Record) []sdk.ProcessedRecord {
	answers := make([]sdk.ProcessedRecord, len(recs))
	indices := make([]int, len(recs)) // of the records without an answer
	for i := range indices {
		indices[i] = i
	}
	for unanswered := 0; len(indices) > 0; {
		results := p.process(r, r.ctx, proc, slices.Clone(recs))
		var nextRecs []opencdc.Record
		var nextIndices []int
		for i, rec := range recs {
			if i < len(results) && results[i] != nil {
				answers[indices[i]] = results[i]
				continue
			}
			nextRecs, nextIndices = append(nextRecs, rec), append(nextIndices, indices[i])
		}
		unanswered++
		if len(nextIndices) < len(indices) {
			unanswered = 0
		}
		if unanswered == conformMaxUnanswered {
			r.fail("Process gave no answer %d times in a row, for %d records: %s", unanswered, len(nextRecs), conformQuoteAll(conformPositions(nextRecs)))
		}
		if unanswered > 0 {
			r.pause(time.Millisecond << min(unanswered-1, 6))
		}
		recs, indices = nextRecs, nextIndices
	}
	// Later calls may write to the slices of a MultiRecord.
	return p.clone(r, answers)
}

// clone returns copies of results, which share nothing with them. Results of unknown types
// are not copied.
func (p conformProcessor) clone(r *conformRun, results []sdk.ProcessedRecord) []sdk.ProcessedRecord {
	clones := make([]sdk.ProcessedRecord, len(results))
	for i, result := range results {
		switch result := result.(type) {
		case sdk.SingleRecord:
			clones[i] = sdk.SingleRecord(r.clone(conformRecordsOf(result))[0])
		case sdk.MultiRecord:
			clones[i] = sdk.MultiRecord(r.clone(result))
		default:
			clones[i] = result
		}
	}
	return clones
}

// conformIsKnown returns true if a result is nil or of a type that the SDK defines.
func conformIsKnown(result sdk.ProcessedRecord) bool {
	switch result.(type) {
	case nil, sdk.SingleRecord, sdk.FilterRecord, sdk.ErrorRecord, sdk.MultiRecord:
		return true
	default:
		return false
	}
}

// conformRecordsOf returns the records in a result. Those of a MultiRecord are in its own
// slice.
func conformRecordsOf(result sdk.ProcessedRecord) []opencdc.Record {
	switch result := result.(type) {
	case sdk.SingleRecord:
		return []opencdc.Record{opencdc.Record(result)}
	case sdk.MultiRecord:
		return result
	default:
		return nil
	}
}

// conformDiffResults returns how two results differ, or "" if they do not. Errors are
// compared by their texts.
func conformDiffResults(got, want sdk.ProcessedRecord) string {
	if gotType, wantType := fmt.Sprintf("%T", got), fmt.Sprintf("%T", want); gotType != wantType {
		return fmt.Sprintf("it is a %s, want a %s", gotType, wantType)
	}
	if e, ok := got.(sdk.ErrorRecord); ok {
		if gotText, wantText := fmt.Sprint(e.Error), fmt.Sprint(want.(sdk.ErrorRecord).Error); gotText != wantText {
			return fmt.Sprintf("its error is %q, want %q", gotText, wantText)
		}
	}
	gotRecs, wantRecs := conformRecordsOf(got), conformRecordsOf(want)
	if len(gotRecs) != len(wantRecs) {
		return fmt.Sprintf("it has %d records, want %d", len(gotRecs), len(wantRecs))
	}
	var diffs []string
	for i := range gotRecs {
		if diff := conformDiff(gotRecs[i], wantRecs[i]); diff != "" {
			diffs = append(diffs, fmt.Sprintf("record %d: %s", i, diff))
		}
	}
	return strings.Join(diffs, "; ")
}
