package model

import (
	"context"
	"slices"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"
)

// fakeProcessor is a processor.
type fakeProcessor struct {
	nodePart
	results []sdk.ProcessedRecord
	parts   [][]opencdc.Record // for the results of kind MultiRecord
	shadow  [][]opencdc.Record // what the results held when they were returned, nil if they may change
}

// alienRecord is a result of a kind that the SDK does not define.
type alienRecord struct{ sdk.ProcessedRecord }

func (p *fakeProcessor) Open(context.Context) error {
	p.w.opened(p.id)
	return nil
}

func (p *fakeProcessor) Teardown(context.Context) error {
	p.reclaim()
	p.w.closed(p.id)
	return nil
}

func (p *fakeProcessor) Process(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
	c, forms := p.call(ctx, recs)
	defer p.done(c)
	p.reclaim()
	p.strikeOut()
	if p.strikes(faultNothing) {
		return p.results
	}
	whole := p.strikes(faultTooMany)
	for i, f := range forms {
		v := p.n.behave(p.w.tree.seed, f.id)
		if whole {
			p.add(sdk.FilterRecord{})
			continue
		}
		if !p.answers(i, f.id, v) {
			p.add(nil)
			continue
		}
		p.add(p.answer(recs, i, f, v))
	}
	if p.strikes(faultAlien) {
		i := p.rand.IntN(len(p.results))
		if p.n.atMost > 0 {
			i %= p.n.atMost
		}
		p.shadow[i] = nil
		if p.chance(50) {
			p.results[i] = alienRecord{sdk.FilterRecord{}}
		} else {
			rec := sdk.SingleRecord(recs[i])
			p.results[i] = &rec
		}
	}
	if whole {
		p.add(sdk.FilterRecord{})
	}
	if p.n.atMost > 0 && !whole {
		p.results = p.results[:min(p.n.atMost, len(p.results))]
	}
	for p.chance(50) && len(p.results) > 1 && p.results[len(p.results)-1] == nil {
		p.results = p.results[:len(p.results)-1]
	}
	return p.results
}

// answer returns the result for the i-th record.
func (p *fakeProcessor) answer(recs []opencdc.Record, i int, f form, v verdict) sdk.ProcessedRecord {
	switch v.kind {
	case verdictPassAsOne:
		rec := p.passed(recs, i, f)
		if p.n.style == styleReplace {
			return sdk.MultiRecord(recs[i : i+1]) // a part of what it was given
		}
		return p.multi(rec)
	case verdictFilter:
		return sdk.FilterRecord{}
	case verdictFilterAsNone:
		return sdk.MultiRecord{}
	case verdictNack:
		p.leaves(recs[i], f)
		return sdk.ErrorRecord{Error: v.err}
	case verdictSplit:
		left := p.leaves(recs[i], f)
		pieces := make([]opencdc.Record, v.parts)
		for k := range pieces {
			pieces[k] = p.made(p.w.tree.piece(p.n, left, k))
		}
		return p.multi(pieces...)
	default:
		return sdk.SingleRecord(p.passed(recs, i, f))
	}
}

// multi returns a MultiRecord in a slice that is used again at the next call.
func (p *fakeProcessor) multi(recs ...opencdc.Record) sdk.MultiRecord {
	p.parts = append(p.parts, recs)
	return recs
}

// add appends a result and remembers what it holds.
func (p *fakeProcessor) add(r sdk.ProcessedRecord) {
	p.results = append(p.results, r)
	switch r := r.(type) {
	case sdk.SingleRecord:
		p.shadow = append(p.shadow, []opencdc.Record{opencdc.Record(r)})
	case sdk.MultiRecord:
		p.shadow = append(p.shadow, slices.Clone(r))
	default:
		p.shadow = append(p.shadow, nil)
	}
	if part, ok := r.(sdk.MultiRecord); ok && len(part) == 1 && !p.owns(part) {
		p.shadow[len(p.shadow)-1] = nil
	}
}

// owns reports whether a result is in a slice of the processor's own.
func (p *fakeProcessor) owns(part sdk.MultiRecord) bool {
	return slices.ContainsFunc(p.parts, func(recs []opencdc.Record) bool { return &recs[0] == &part[0] })
}

// check checks that nobody wrote into the results of the call before.
func (p *fakeProcessor) check() {
	for i, r := range p.results {
		var now []opencdc.Record
		switch r := r.(type) {
		case sdk.SingleRecord:
			now = []opencdc.Record{opencdc.Record(r)}
		case sdk.MultiRecord:
			now = r
		}
		if p.shadow[i] != nil && !slices.EqualFunc(now, p.shadow[i], isSame) {
			p.w.complain("%s: somebody wrote into result %d of a call", p.id, i)
		}
	}
}

// reclaim overwrites the results of the call before.
func (p *fakeProcessor) reclaim() {
	p.check()
	for i := range p.results {
		p.results[i] = sdk.ErrorRecord{Error: failure{task: p.id, id: "used again"}}
	}
	for _, recs := range p.parts {
		for i := range recs {
			recs[i] = form{id: "0", pos: "used again", marks: ".used-again"}.record()
		}
	}
	p.results, p.shadow, p.parts = p.results[:0], p.shadow[:0], p.parts[:0]
}
