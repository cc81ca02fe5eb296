package funneltest

import (
	"context"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
)

// memoryProcessor answers with results of each kind.
type memoryProcessor struct {
	lifecycle
	isConcurrent bool

	mu       sync.Mutex
	results  []sdk.ProcessedRecord // of the first call
	kept     []opencdc.Record      // the slice of the last call
	returned opencdc.Metadata      // in a record of the last call
	template opencdc.Metadata
	calls    atomic.Int32
	active   atomic.Int32
}

// processorConformance is the configuration for processors with a fault.
func processorConformance(fault string) ProcessorConformance {
	isConcurrent := fault == "" || concurrentFaults[fault]
	return ProcessorConformance{
		New: func(t testing.TB) funnel.Processor {
			return &memoryProcessor{
				lifecycle:    newLifecycle(t, fault),
				isConcurrent: isConcurrent,
				template:     opencdc.Metadata{"template": "true"},
			}
		},
	}
}

var concurrentFaults = map[string]bool{
	"depends on the batch": true, "fails beside another call": true, "clears results of another call": true,
}

func (p *memoryProcessor) IsConcurrent() bool { return p.isConcurrent }

func (p *memoryProcessor) Process(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
	if p.active.Add(1) > 1 && p.fault == "fails beside another call" {
		recs[0].Metadata = nil
	}
	time.Sleep(time.Millisecond)
	defer p.active.Add(-1)
	if ctx.Err() != nil && p.fault == "ignores the context" {
		<-p.release
	}
	var results []sdk.ProcessedRecord
	for i, rec := range recs {
		result := p.answer(ctx, i, recs)
		if p.fault == "returns pointers" && i == 1 {
			single := sdk.SingleRecord(rec)
			result = &single
		}
		results = append(results, result)
	}
	switch {
	case p.fault == "returns nothing" && len(recs) == 1:
		return nil
	case p.fault == "returns too much" && len(recs) == 2:
		results = append(results, sdk.FilterRecord{})
	case p.fault == "clears results of another call" && p.calls.Add(1) == 2:
		p.mu.Lock()
		clear(p.results)
		p.mu.Unlock()
	case p.fault == "writes to records of the last call" && p.returned != nil:
		p.returned["late"] = "true"
	}
	if !p.isConcurrent || p.fault == "clears results of another call" {
		p.mu.Lock()
		p.results, p.kept, p.returned = results, recs, recs[0].Metadata
		p.mu.Unlock()
	}
	return results
}

// answer returns the result for a record: it is refused, filtered, split, or replaced.
func (p *memoryProcessor) answer(ctx context.Context, i int, recs []opencdc.Record) sdk.ProcessedRecord {
	rec := recs[i]
	if ctx.Err() != nil {
		if p.fault == "refuses when it stops" {
			return sdk.ErrorRecord{Error: errTest}
		}
		return sdk.ErrorRecord{Error: ctx.Err()}
	}
	if rec.Metadata == nil && p.fault != "panics without metadata" {
		rec.Metadata = opencdc.Metadata{}
	}
	switch number, _ := strconv.Atoi(rec.Metadata["number"]); number % 5 {
	case 1:
		return sdk.FilterRecord{}
	case 2:
		return sdk.ErrorRecord{Error: errTest}
	case 3:
		return p.split(rec)
	}
	rec.Metadata["processed"] = "true"
	switch p.fault {
	case "never answers one":
		if i == 0 {
			return nil
		}
	case "returns no position":
		rec.Position = nil
	case "writes to positions":
		rec.Position[0] = 'x'
	case "returns the slice":
		return sdk.MultiRecord(recs[i : i+1])
	case "reads the last slice":
		if p.kept != nil {
			rec.Position = p.kept[0].Position
		}
	case "shares a template":
		rec.Metadata = p.template
	case "depends on the batch":
		rec.Metadata["index"] = strconv.Itoa(i)
	}
	return sdk.SingleRecord(rec)
}

// split returns two pieces of a record.
func (p *memoryProcessor) split(rec opencdc.Record) sdk.ProcessedRecord {
	list := []any{"a", "b"}
	piece := func() opencdc.Record {
		piece := rec.Clone()
		piece.Metadata = maps.Clone(rec.Metadata)
		piece.Key = opencdc.RawData("key")
		piece.Payload.After = opencdc.StructuredData{"list": []any{"a", "b"}}
		piece.Payload.Before = nil
		return piece
	}
	one, two := piece(), piece()
	switch p.fault {
	case "pieces share metadata":
		two.Metadata = one.Metadata
	case "pieces share bytes":
		line := opencdc.RawData("one line")
		one.Key, two.Key = line[:5], line[4:]
	case "pieces share a list":
		one.Payload.After.(opencdc.StructuredData)["list"] = list
		two.Payload.After.(opencdc.StructuredData)["list"] = list[1:]
	case "a piece shares a map with its record":
		one.Payload.After = rec.Payload.After
	case "pieces share neighbouring bytes": // which is allowed
		line := opencdc.RawData("one line")
		one.Key, two.Key = line[:4:4], line[4:]
	}
	return sdk.MultiRecord{one, two}
}

func (p *memoryProcessor) Teardown(ctx context.Context) error {
	if err := p.lifecycle.Teardown(ctx); err != nil {
		return err
	}
	switch p.fault {
	case "clears results at the end":
		clear(p.results)
	case "writes to the slice at the end":
		clear(p.kept)
	}
	return nil
}

// A processor that keeps the contract has no findings.
func TestProcessor_reference(t *testing.T) {
	t.Run("concurrent", func(t *testing.T) { TestProcessor(t, processorConformance("")) })
	t.Run("sequential", func(t *testing.T) { TestProcessor(t, processorConformance("pieces share neighbouring bytes")) })
	t.Run("parallel", func(t *testing.T) {
		wantFindings(t, func() *conformSuite {
			return ProcessorConformance{New: func(t testing.TB) funnel.Processor {
				p, err := funnel.NewParallelProcessor(processorConformance("").New(t), 3)
				if err != nil {
					t.Fatal(err)
				}
				return p
			}}.suite()
		})
	})
}

// Each fault is found by the checks that are about it, and by no other.
func TestProcessor_faults(t *testing.T) {
	testFaults(t, func(fault string) *conformSuite { return processorConformance(fault).suite() }, lifecycleFaults(
		brokenConnector{"pieces share neighbouring bytes", nil},
		brokenConnector{"returns nothing", []string{"results_match_the_records"}},
		brokenConnector{"returns too much", []string{"results_match_the_records"}},
		brokenConnector{"never answers one", []string{"each_record_gets_an_answer"}},
		brokenConnector{"returns pointers", []string{"results_are_of_known_types"}},
		brokenConnector{"returns no position", []string{"positions_are_not_empty"}},
		brokenConnector{"writes to positions", []string{"position_bytes_are_left_alone"}},
		brokenConnector{"panics without metadata", []string{"odd_records_do_no_harm"}},
		brokenConnector{"returns the slice", []string{"results_do_not_use_the_slice_of_records"}},
		brokenConnector{"reads the last slice", []string{"slice_of_records_is_not_kept"}},
		brokenConnector{"writes to the slice at the end", []string{"slice_of_records_is_not_kept"}},
		brokenConnector{"clears results at the end", []string{"results_stay_until_the_next_call"}},
		brokenConnector{"writes to records of the last call", []string{"returned_records_are_left_alone"}},
		brokenConnector{"shares a template", []string{"returned_records_are_not_returned_again"}},
		brokenConnector{"pieces share metadata", []string{"pieces_share_nothing_with_each_other"}},
		brokenConnector{"pieces share bytes", []string{"pieces_share_nothing_with_each_other"}},
		brokenConnector{"pieces share a list", []string{"pieces_share_nothing_with_each_other"}},
		brokenConnector{"a piece shares a map with its record", []string{"pieces_share_no_maps_with_their_record"}},
		brokenConnector{"ignores the context", []string{"process_returns_when_its_context_ends", "ended_context_is_no_refusal"}},
		brokenConnector{"refuses when it stops", []string{"ended_context_is_no_refusal"}},
		brokenConnector{"depends on the batch", []string{"results_do_not_depend_on_the_batch", "concurrent_calls_agree"}},
		brokenConnector{"fails beside another call", []string{"concurrent_calls_agree"}},
		brokenConnector{"clears results of another call", []string{"concurrent_results_stay"}},
	))
}
