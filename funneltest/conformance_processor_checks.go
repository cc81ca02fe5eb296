package funneltest

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
)

// conformProcessed is how many records most checks process.
const conformProcessed = 10

// conformProcessor checks processors.
type conformProcessor struct{ ProcessorConformance }

func (p conformProcessor) resultsMatchTheRecords(r *conformRun) {
	proc := p.open(r)
	begin := 0
	for _, n := range []int{1, 2, conformProcessed} {
		recs := p.records(begin, begin+n)
		var results []sdk.ProcessedRecord
		r.call("Process", func(ctx context.Context) { results = proc.Process(ctx, recs) })
		if got := len(results); got == 0 || got > n {
			r.fail("Process was given %d records and returned %d results", n, got)
		}
		begin += n
	}
}

func (p conformProcessor) eachRecordGetsAnAnswer(r *conformRun) {
	p.answers(r, p.open(r), p.records(0, conformProcessed))
}

func (p conformProcessor) resultsAreOfKnownTypes(r *conformRun) {
	for i, result := range p.process(r, r.ctx, p.open(r), p.records(0, conformProcessed)) {
		if !conformIsKnown(result) {
			r.note("result %d is of the unknown type %T", i, result)
		}
	}
}

func (p conformProcessor) positionsAreNotEmpty(r *conformRun) {
	recs := p.records(0, conformProcessed)
	positions := conformPositions(recs)
	for i, result := range p.process(r, r.ctx, p.open(r), recs) {
		for j, rec := range conformRecordsOf(result) {
			if len(rec.Position) == 0 {
				r.note("record %d of the result for %s, a %T, has no position", j, conformQuote(positions[i]), result)
			}
		}
	}
}

func (p conformProcessor) positionBytesAreLeftAlone(r *conformRun) {
	recs := p.records(0, conformProcessed)
	positions := conformPositions(recs)
	var copies []opencdc.Position
	for _, pos := range positions {
		copies = append(copies, bytes.Clone(pos))
	}
	proc := p.open(r)
	p.process(r, r.ctx, proc, recs)
	r.mustTearDown(proc)
	for i := range positions {
		if !bytes.Equal(positions[i], copies[i]) {
			r.note("the bytes of position %s were changed to %s", conformQuote(copies[i]), conformQuote(positions[i]))
		}
	}
}

func (p conformProcessor) oddRecordsDoNoHarm(r *conformRun) {
	proc := p.open(r)
	for _, odd := range conformOddRecords() {
		recs := []opencdc.Record{odd.Record}
		r.call("Process of a record "+odd.what, func(ctx context.Context) { proc.Process(ctx, recs) })
	}
}

func (p conformProcessor) resultsDoNotUseTheSlice(r *conformRun) {
	recs := p.records(0, conformProcessed)
	positions := conformPositions(recs)
	results := p.process(r, r.ctx, p.open(r), recs)
	conformMarkSlice(recs)
	for i, result := range results {
		if slices.ContainsFunc(conformRecordsOf(result), conformIsMarked) {
			r.note("the slice of records was overwritten after Process, and the result for %s, a %T, shows this", conformQuote(positions[i]), result)
		}
	}
}

func (p conformProcessor) sliceIsNotKept(r *conformRun) {
	proc := p.open(r)
	first := p.records(0, conformProcessed)
	p.process(r, r.ctx, proc, first)
	conformMarkSlice(first)
	second := p.records(conformProcessed, 2*conformProcessed)
	positions := conformPositions(second)
	for i, result := range p.process(r, r.ctx, proc, second) {
		if slices.ContainsFunc(conformRecordsOf(result), conformIsMarked) {
			r.note("the slice of records was overwritten after a Process, and the next one shows this, in the result for %s", conformQuote(positions[i]))
		}
	}
	conformMarkSlice(second)
	r.mustTearDown(proc)
	if slices.ContainsFunc(slices.Concat(first, second), conformIsUnmarked) {
		r.note("the processor has written to the slice of records after Process had returned")
	}
}

func (p conformProcessor) resultsStay(r *conformRun) {
	proc := p.open(r)
	recs := p.records(0, conformProcessed)
	positions := conformPositions(recs)
	results := p.process(r, r.ctx, proc, recs)
	kept := p.clone(r, results)
	r.mustTearDown(proc)
	for i := range results {
		if diff := conformDiffResults(results[i], kept[i]); diff != "" {
			r.note("the result for %s was changed after Process had returned: %s", conformQuote(positions[i]), diff)
		}
	}
}

func (p conformProcessor) returnedRecordsAreLeftAlone(r *conformRun) {
	proc := p.open(r)
	var recs []opencdc.Record
	for _, result := range p.process(r, r.ctx, proc, p.records(0, conformProcessed)) {
		recs = append(recs, conformRecordsOf(result)...)
	}
	clones := r.clone(recs)
	p.process(r, r.ctx, proc, p.records(conformProcessed, 2*conformProcessed))
	r.mustTearDown(proc)
	for i := range recs {
		if diff := conformDiff(recs[i], clones[i]); diff != "" {
			r.note("the returned record %s was changed by a later call: %s", conformQuote(clones[i].Position), diff)
		}
	}
}

func (p conformProcessor) returnedRecordsAreNotReturnedAgain(r *conformRun) {
	proc := p.open(r)
	for range 3 { // of the same records, which may be cached
		recs := p.records(0, conformProcessed)
		results := p.process(r, r.ctx, proc, recs)
		for i, result := range results {
			for j, rec := range conformRecordsOf(result) {
				if where := conformFindMark(rec); where != "" {
					r.fail("the test has overwritten what returned records hold, and a later call shows this, in %s of record %d of result %d, a %T",
						where, j, i, result)
				}
			}
		}
		for _, result := range results {
			conformMarkContents(conformRecordsOf(result))
		}
		conformMarkContents(recs)
	}
}

func (p conformProcessor) piecesShareNothing(r *conformRun) {
	p.checkPieces(r, func(_ opencdc.Record, pieces []opencdc.Record) {
		for i := range pieces {
			for j := range i {
				if what := conformShared(conformAreas(pieces[i]), conformAreas(pieces[j])); what != "" {
					r.fail("the pieces %d and %d of %s share memory: %s", i, j, conformQuote(pieces[j].Position), what)
				}
			}
		}
	})
}

func (p conformProcessor) piecesShareNoMapsWithTheirRecord(r *conformRun) {
	p.checkPieces(r, func(rec opencdc.Record, pieces []opencdc.Record) {
		isNoMap := func(a conformArea) bool { return !a.isMap }
		maps := slices.DeleteFunc(conformAreas(rec), isNoMap)
		for i := range pieces {
			if what := conformShared(conformAreas(pieces[i]), maps); what != "" {
				r.fail("piece %d of record %s shares a map with it: %s", i, conformQuote(rec.Position), what)
			}
		}
	})
}

// checkPieces calls check for each record that is split into several pieces.
func (p conformProcessor) checkPieces(r *conformRun, check func(rec opencdc.Record, pieces []opencdc.Record)) {
	recs := p.records(0, conformProcessed)
	given := slices.Clone(recs)
	isSplit := false
	for i, result := range p.process(r, r.ctx, p.open(r), recs) {
		if pieces, ok := result.(sdk.MultiRecord); ok && len(pieces) > 1 {
			isSplit = true
			check(given[i], pieces)
		}
	}
	if !isSplit {
		r.skip("no record was split into several pieces")
	}
}

func (p conformProcessor) processReturnsWhenItsContextEnds(r *conformRun) {
	recs := p.records(0, conformProcessed)
	proc := p.open(r)
	r.call("Process, whose context has ended,", func(ctx context.Context) { proc.Process(conformEnded(ctx), recs) })

	recs = p.records(0, conformProcessed)
	proc = p.open(r)
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	call := r.start("Process, whose context has ended meanwhile,", func(context.Context) { proc.Process(ctx, recs) })
	cancel()
	r.wait(call)
}

func (p conformProcessor) endedContextIsNoRefusal(r *conformRun) {
	proc := p.open(r)
	alive := p.process(r, r.ctx, proc, p.records(0, conformProcessed))
	isRefused := make([]bool, conformProcessed)
	for i, result := range alive {
		_, isRefused[i] = result.(sdk.ErrorRecord)
	}
	recs := p.records(0, conformProcessed)
	positions := conformPositions(recs)
	proc = p.open(r)
	for i, result := range p.process(r, conformEnded(r.ctx), proc, recs) {
		if refused, ok := result.(sdk.ErrorRecord); ok && !isRefused[i] && !errors.Is(refused.Error, context.Canceled) {
			r.note("record %s failed after the context had ended, with an error that is not context.Canceled: %v", conformQuote(positions[i]), refused.Error)
		}
	}
}

func (p conformProcessor) resultsDoNotDependOnTheBatch(r *conformRun) {
	proc := p.openConcurrent(r)
	together := p.answers(r, proc, p.records(0, conformProcessed))
	for i := conformProcessed - 1; i >= 0; i-- {
		recs := p.records(i, i+1)
		position := recs[0].Position
		alone := p.answers(r, proc, recs)
		if diff := conformDiffResults(alone[0], together[i]); diff != "" {
			r.note("the result for %s alone differs from that in a batch of %d: %s", conformQuote(position), conformProcessed, diff)
		}
	}
}

func (p conformProcessor) concurrentCallsAgree(r *conformRun) {
	const parts, size, rounds = 4, 3, 10
	want := p.answers(r, p.openConcurrent(r), p.records(0, parts*size))
	proc := p.openConcurrent(r)
	for range rounds {
		var calls []*conformCall
		results := make([][]sdk.ProcessedRecord, parts)
		for part := range parts {
			recs := p.records(part*size, (part+1)*size)
			calls = append(calls, r.start("Process, called by several goroutines,", func(ctx context.Context) { results[part] = proc.Process(ctx, recs) }))
		}
		for _, call := range calls { // none may run when one of them ends the check
			conformEndsBefore(call, r.clock.Done())
		}
		for _, call := range calls {
			r.wait(call)
		}
		for part := range parts {
			for i, result := range results[part][:min(size, len(results[part]))] {
				k := part*size + i
				if diff := conformDiffResults(result, want[k]); result != nil && diff != "" {
					r.fail("the result for record %d differs from that of a single goroutine: %s", k, diff)
				}
			}
		}
	}
}

func (p conformProcessor) concurrentResultsStay(r *conformRun) {
	proc := p.openConcurrent(r)
	recs := p.records(0, conformProcessed)
	positions := conformPositions(recs)
	results := p.process(r, r.ctx, proc, recs)
	kept := p.clone(r, results)
	for range 3 {
		p.process(r, r.ctx, proc, p.records(conformProcessed, 2*conformProcessed))
	}
	for i := range results {
		if diff := conformDiffResults(results[i], kept[i]); diff != "" {
			r.note("the result for %s was changed by a later call: %s", conformQuote(positions[i]), diff)
		}
	}
}

// use processes records.
func (p conformProcessor) use(r *conformRun, c conformConnector) {
	p.process(r, r.ctx, c.(funnel.Processor), p.records(0, 3))
}
