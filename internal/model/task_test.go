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
	m := &marking{fakeTask: t, batch: b, active: b.ActiveRecords()}
	m.then = slices.Clone(m.active)
	c, forms := t.call(ctx, m.active)
	defer t.done(c)
	t.strikeOut()
	m.forms, m.size = forms, len(forms)
	m.verdicts = make([]verdict, len(forms))
	m.answered = make([]bool, len(forms))
	for i, f := range forms {
		m.verdicts[i] = t.n.behave(t.w.tree.seed, f.id)
		m.answered[i] = t.answers(i, f.id, m.verdicts[i])
	}
	m.markAll()
	if got := len(b.ActiveRecords()); got != m.size {
		t.w.complain("%s: the batch has %d active records after it was marked, not %d", t.id, got, m.size)
	}
	if t.strikes(faultTask) {
		return errTask
	}
	return nil
}

// marking is a call of a task, which goes through the batch once, in either
// direction, and marks it where it has been.
type marking struct {
	*fakeTask
	batch *funnel.Batch
	// active is what ActiveRecords has returned at first. The task goes on reading
	// it while it marks the batch, and it must stay what it was then, as far as the
	// task has not come yet.
	active, then []opencdc.Record
	forms        []form
	verdicts     []verdict
	answered     []bool // false for those that are to be retried
	size         int    // how many records are active
}

func (m *marking) markAll() {
	n := len(m.active)
	if m.n.doubtful {
		m.span(m.batch.Retry, 0, n)
	}
	if m.n.backward {
		for i := n - 1; i >= 0; i-- {
			m.markAt(i, i+1, i)
			m.look(0, i, 0)
		}
		return
	}
	for from, at := 0, 0; from < n; {
		to := from + 1
		for to < n && m.alike(from, to) {
			to++
		}
		at = m.markAt(from, to, at)
		m.look(to, n, at)
		from = to
	}
}

// markAt marks the records from (included) to (excluded), which now are those
// from index at on. It returns the index of those behind them.
func (m *marking) markAt(from, to, at int) (next int) {
	recs := m.records(from, to)
	v := m.verdicts[from]
	next = at + to - from
	want := funnel.RecordStatus{}
	isPassed := v.kind == verdictPass || v.kind == verdictPassAsOne
	if m.n.doubtful && m.answered[from] && (isPassed || m.chance(30)) { // any other mark is an answer
		m.span(m.batch.Ack, at, next)
	}
	switch {
	case !m.answered[from]:
		m.span(m.batch.Retry, at, next)
		want.Flag = funnel.RecordFlagRetry
	case v.kind == verdictFilter || v.kind == verdictFilterAsNone:
		m.span(m.batch.Filter, at, next)
		next = at
	case v.kind == verdictNack:
		m.nack(recs, from, at)
		want.Flag = funnel.RecordFlagNack
	case v.kind == verdictSplit:
		left := m.leaves(recs[0], m.forms[from])
		pieces := make([]opencdc.Record, v.parts)
		for k := range pieces {
			pieces[k] = m.made(m.w.tree.piece(m.n, left, k))
		}
		m.batch.SplitRecord(at, pieces)
		clear(pieces)
		next = at + v.parts
	default:
		for i := range recs {
			recs[i] = m.passed(recs, i, m.forms[from+i])
		}
		m.batch.SetRecords(at, recs)
		clear(recs)
	}
	m.size += next - at - (to - from)
	for i := at; i < next; i++ {
		if want.Flag == funnel.RecordFlagNack {
			want.Error = m.verdicts[from+i-at].err
		}
		if got := m.batch.Status(i); got != want {
			m.w.complain("%s: the status of record %d is %v, not %v", m.id, i, got, want)
		}
	}
	if m.n.wavers && next > at {
		m.waver(at + m.rand.IntN(next-at))
	}
	return next
}

// records returns the records from (included) to (excluded) as the task reads
// them when it gets there. The slice is the caller's.
func (m *marking) records(from, to int) []opencdc.Record {
	if m.n.readsOn {
		return slices.Clone(m.active[from:to])
	}
	return slices.Clone(m.then[from:to])
}

// look checks that the records from (included) to (excluded), where the task has
// not been yet, are what they were. They are now those from index at on.
func (m *marking) look(from, to, at int) {
	ahead := m.then[from:to]
	if !slices.EqualFunc(m.active[from:to], ahead, isSame) {
		m.w.complain("%s: what it goes on reading has changed ahead of it", m.id)
	}
	if !m.n.readsOn || !m.chance(70) {
		return
	}
	now := m.batch.ActiveRecords()
	if len(now) != m.size || !slices.EqualFunc(now[at:at+to-from], ahead, isSame) {
		m.w.complain("%s: the active records are not what they were ahead of it", m.id)
	}
	if !slices.EqualFunc(m.active[from:to], ahead, isSame) {
		m.w.complain("%s: what it goes on reading has changed with the next call of ActiveRecords", m.id)
	}
}

// waver marks a record in another way and then as it was marked.
func (m *marking) waver(i int) {
	was := m.batch.Status(i)
	others := []func(){
		func() { m.batch.Ack(i) },
		func() { m.batch.Nack(i, failure{task: m.id, id: "wavering"}) },
		func() { m.batch.Retry(i) },
	}
	others[m.rand.IntN(len(others))]()
	switch was.Flag {
	case funnel.RecordFlagAck:
		m.batch.Ack(i)
	case funnel.RecordFlagNack:
		m.batch.Nack(i, was.Error)
	case funnel.RecordFlagRetry:
		m.batch.Retry(i)
	}
}

// alike reports whether two records can be marked by one call.
func (m *marking) alike(a, b int) bool {
	if !m.answered[a] || !m.answered[b] {
		return m.answered[a] == m.answered[b]
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
	va, vb := m.verdicts[a], m.verdicts[b]
	if va.kind == verdictSplit || va.kind == verdictNack && (va.err == nil || vb.err == nil) {
		return false
	}
	return group(va.kind) == group(vb.kind)
}

// span marks the records from (included) to (excluded).
func (m *marking) span(mark func(int, ...int), from, to int) {
	if to == from+1 && m.chance(50) {
		mark(from)
		return
	}
	mark(from, to)
}

// nack nacks records, which are those from index from on in what the task was
// given and from at on now.
func (m *marking) nack(recs []opencdc.Record, from, at int) {
	var errs []error
	for i := range recs {
		m.leaves(recs[i], m.forms[from+i])
		if err := m.verdicts[from+i].err; err != nil {
			errs = append(errs, err)
		}
	}
	m.batch.Nack(at, errs...)
}
