package model

import (
	"context"
	"slices"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
)

// fakeTask is a task that marks its batch itself.
type fakeTask struct{ nodePart }

func (t *fakeTask) ID() string { return t.id }

func (t *fakeTask) Open(context.Context) error {
	t.w.opened(t.id)
	return nil
}

func (t *fakeTask) Close(context.Context) error {
	t.w.closed(t.id)
	return nil
}

func (t *fakeTask) Do(ctx context.Context, b *funnel.Batch) error {
	if b.HasActiveRecords() != (len(b.ActiveRecords()) > 0) {
		t.w.complain("%s: HasActiveRecords is wrong", t.id)
	}
	if !b.HasActiveRecords() {
		return nil
	}
	recs := slices.Clone(b.ActiveRecords())
	c, forms := t.call(ctx, recs)
	defer t.done(c)
	t.strikeOut()
	verdicts := make([]verdict, len(recs))
	answers := make([]bool, len(recs))
	for i, f := range forms {
		verdicts[i] = t.n.behave(t.w.tree.seed, f.id)
		answers[i] = t.answers(i, f.id, verdicts[i])
	}
	if t.n.doubtful {
		t.span(b.Retry, 0, len(recs))
	}
	size := len(recs)
	mark := func(from, to, at int) int { // the records from..to stand at at, returns where the next stands
		v := verdicts[from]
		if t.n.doubtful && answers[from] && v.kind != verdictNack {
			t.span(b.Ack, at, at+to-from)
		}
		switch {
		case !answers[from]:
			t.span(b.Retry, at, at+to-from)
			return at + to - from
		case v.kind == verdictFilter || v.kind == verdictFilterAsNone:
			t.span(b.Filter, at, at+to-from)
			size -= to - from
			return at
		case v.kind == verdictNack:
			t.nack(b, recs[from:to], forms[from:to], verdicts[from:to], at)
			return at + to - from
		case v.kind == verdictSplit:
			left := t.leaves(recs[from], forms[from])
			pieces := make([]opencdc.Record, v.parts)
			for k := range pieces {
				pieces[k] = t.n.piece(left, k).record()
			}
			b.SplitRecord(at, pieces)
			clear(pieces)
			size += v.parts - 1
			return at + v.parts
		default:
			passed := make([]opencdc.Record, 0, to-from)
			for i := from; i < to; i++ {
				passed = append(passed, t.passed(recs, i, forms[i]))
			}
			b.SetRecords(at, passed)
			clear(passed)
			return at + to - from
		}
	}
	if t.n.backward {
		for i := len(recs) - 1; i >= 0; i-- {
			mark(i, i+1, i)
		}
	} else {
		for from, at := 0, 0; from < len(recs); {
			to := from + 1
			for to < len(recs) && t.alike(verdicts, answers, from, to) {
				to++
			}
			at = mark(from, to, at)
			from = to
		}
	}
	if got := len(b.ActiveRecords()); got != size {
		t.w.complain("%s: the batch has %d active records after it was marked, not %d", t.id, got, size)
	}
	if t.strikes(faultTask) {
		return errTask
	}
	return nil
}

// alike reports whether two records can be marked by one call.
func (t *fakeTask) alike(verdicts []verdict, answers []bool, a, b int) bool {
	if !answers[a] || !answers[b] {
		return answers[a] == answers[b]
	}
	group := func(k verdictKind) verdictKind {
		switch k {
		case verdictPassAsOne:
			return verdictPass
		case verdictFilterAsNone:
			return verdictFilter
		}
		return k
	}
	va, vb := verdicts[a], verdicts[b]
	if va.kind == verdictSplit || va.kind == verdictNack && (va.err == nil || vb.err == nil) {
		return false
	}
	return group(va.kind) == group(vb.kind)
}

// span marks the records from (included) to (excluded).
func (t *fakeTask) span(mark func(int, ...int), from, to int) {
	if to == from+1 && t.chance(50) {
		mark(from)
		return
	}
	mark(from, to)
}

func (t *fakeTask) nack(b *funnel.Batch, recs []opencdc.Record, forms []form, verdicts []verdict, at int) {
	var errs []error
	for i, v := range verdicts {
		t.leaves(recs[i], forms[i])
		if v.err != nil {
			errs = append(errs, v.err)
		}
	}
	b.Nack(at, errs...)
}
