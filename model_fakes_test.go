package funnel_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
)

// The connectors, processors and tasks of the model test. They do what the
// tree says, write down every call with the records in it, and check what can be
// checked on the spot: that nobody calls them twice at the same time or with
// nothing, that the context is the right one, and that what belongs to them
// stays as they left it. They use their rights to the full: they change records
// in place, use their slices of results and acks again, keep what they may
// keep, and overwrite what belongs to them.

// modelPart is what all parts have in common.
type modelPart struct {
	w     *modelWorld
	id    string
	busy  atomic.Bool
	count int // calls so far
	rand  *rand.Rand
}

func newModelPart(w *modelWorld, id string) modelPart {
	return modelPart{w: w, id: id, rand: rand.New(rand.NewPCG(modelHash(w.tree.seed, id), 2))}
}

// enter checks that no other call of the part is under way, and that the
// context is that of Do where it has to be.
func (p *modelPart) enter(ctx context.Context, call string, exact bool) {
	if !p.busy.CompareAndSwap(false, true) {
		p.w.complain("%s: %s is called while another call is under way", p.id, call)
	}
	switch {
	case exact && ctx != p.w.ctx:
		p.w.complain("%s: %s is not given the context of Do", p.id, call)
	case ctx.Value(modelContextKey{}) != p.w.tree:
		p.w.complain("%s: %s is given a context that does not come from that of Do", p.id, call)
	}
}

func (p *modelPart) leave() { p.busy.Store(false) }

func (p *modelPart) chance(percent int) bool { return p.rand.IntN(100) < percent }

// pause takes a while now and then. It returns early if the context ends.
func (p *modelPart) pause(ctx context.Context, percent int) {
	if !p.chance(percent) {
		return
	}
	timer := time.NewTimer(time.Duration(1+p.rand.IntN(20)) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// modelNodePart is the common part of what stands for a node.
type modelNodePart struct {
	modelPart
	n        *modelNode
	attempts map[string]int
	last     []string  // the records of the last call
	left     time.Time // when the last call ended
	clock    int       // at that time
	idle     int       // calls with the same records in a row
}

func newModelNodePart(w *modelWorld, n *modelNode) modelNodePart {
	return modelNodePart{modelPart: newModelPart(w, n.id), n: n, attempts: map[string]int{}}
}

// call starts a call of a node and returns the forms of the records.
func (p *modelNodePart) call(ctx context.Context, recs []opencdc.Record) (*modelCall, []modelForm) {
	p.enter(ctx, "call", p.w.tree.linear())
	p.count++
	if len(recs) == 0 {
		p.w.complain("%s: called with nothing", p.id)
	}
	c := &modelCall{who: p.id}
	forms := make([]modelForm, len(recs))
	for i, rec := range recs {
		forms[i] = modelFormOf(rec)
		c.items = append(c.items, forms[i].String())
		c.slots = append(c.slots, forms[i].slot())
	}
	p.w.begin(c)
	if slices.Equal(p.last, c.items) {
		p.idle++
		p.w.spaced(p.id, "called again after a round without an answer", p.left, p.idle, c.begin > p.clock+1)
	} else {
		p.last, p.idle = c.items, 0
	}
	if m := p.w.meetings[p.id]; m != nil {
		if p.count == 1 && m.missing.Add(-1) == 0 {
			m.all.fire()
		}
		select {
		case <-m.all.done:
		case <-ctx.Done():
		}
	}
	switch {
	case p.strikes(faultCancel):
		p.w.cancel()
	case p.strikes(faultStop):
		p.w.stop.fire()
	case p.strikes(faultStopShort):
		p.w.stopShort(p.rand.IntN(2))
	}
	p.pause(ctx, p.n.sleepy)
	return c, forms
}

// strikeOut ends the call in another way than by returning, if it has to.
func (p *modelNodePart) strikeOut() {
	switch {
	case p.strikes(faultPanic):
		panic(modelPanic)
	case p.strikes(faultGoexit):
		runtime.Goexit()
	}
}

// done ends a call.
func (p *modelNodePart) done(c *modelCall) {
	p.w.end(c)
	p.left, p.clock = time.Now(), c.end
	p.leave()
}

// strikes reports whether the fault of the tree is of a kind and happens at
// the present call.
func (p *modelNodePart) strikes(kind modelFaultKind) bool {
	f := p.w.tree.fault
	return f.kind == kind && f.node == p.id && f.nth == p.count
}

// mute reports whether the node does not answer anymore.
func (p *modelNodePart) mute() bool {
	f := p.w.tree.fault
	return f.kind == faultMute && f.node == p.id && f.nth <= p.count
}

// answers reports whether the node answers the i-th record of a call now.
func (p *modelNodePart) answers(i int, id string, v modelVerdict) bool {
	if p.mute() || p.n.atMost > 0 && i >= p.n.atMost {
		return false
	}
	if v.hush > 0 {
		p.attempts[id]++
	}
	return v.hush == 0 || p.attempts[id] > v.hush
}

// passed returns the record that the node passes on for the i-th of recs.
func (p *modelNodePart) passed(recs []opencdc.Record, i int, f modelForm) opencdc.Record {
	to := p.n.pass(f)
	switch p.n.style {
	case styleInPlace:
		modelMark(recs[i], "."+p.id)
		recs[i].Position = opencdc.Position(to.pos)
	case styleReplace:
		recs[i] = to.record()
	case styleFresh:
		return to.record()
	}
	return recs[i]
}

// leaves changes a record in place that the node is going to split or nack, and
// returns its form.
func (p *modelNodePart) leaves(rec opencdc.Record, f modelForm) modelForm {
	if p.n.early {
		modelMark(rec, ".("+p.id+")")
	}
	return p.n.left(f)
}

// modelFakeProcessor is a processor.
type modelFakeProcessor struct {
	modelNodePart
	results []sdk.ProcessedRecord
	parts   [][]opencdc.Record // for the results of kind MultiRecord
	shadow  [][]opencdc.Record // what the results held when they were returned, nil if they may change
}

// alienRecord is a result of a kind that the SDK does not define.
type alienRecord struct{ sdk.ProcessedRecord }

func (p *modelFakeProcessor) Open(context.Context) error {
	p.w.opened(p.id)
	return nil
}

func (p *modelFakeProcessor) Teardown(context.Context) error {
	p.reclaim()
	p.w.closed(p.id)
	return nil
}

func (p *modelFakeProcessor) Process(ctx context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
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
func (p *modelFakeProcessor) answer(recs []opencdc.Record, i int, f modelForm, v modelVerdict) sdk.ProcessedRecord {
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
			pieces[k] = p.n.piece(left, k).record()
		}
		return p.multi(pieces...)
	default:
		return sdk.SingleRecord(p.passed(recs, i, f))
	}
}

// multi returns a MultiRecord in a slice that is used again at the next call.
func (p *modelFakeProcessor) multi(recs ...opencdc.Record) sdk.MultiRecord {
	p.parts = append(p.parts, recs)
	return recs
}

// add appends a result and remembers what it holds.
func (p *modelFakeProcessor) add(r sdk.ProcessedRecord) {
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
func (p *modelFakeProcessor) owns(part sdk.MultiRecord) bool {
	return slices.ContainsFunc(p.parts, func(recs []opencdc.Record) bool { return &recs[0] == &part[0] })
}

// reclaim checks that nobody wrote into the results of the call before, and
// overwrites them.
func (p *modelFakeProcessor) reclaim() {
	same := func(a, b opencdc.Record) bool {
		return bytes.Equal(a.Position, b.Position) && a.Operation == b.Operation &&
			reflect.ValueOf(a.Metadata).Pointer() == reflect.ValueOf(b.Metadata).Pointer()
	}
	for i, r := range p.results {
		var now []opencdc.Record
		switch r := r.(type) {
		case sdk.SingleRecord:
			now = []opencdc.Record{opencdc.Record(r)}
		case sdk.MultiRecord:
			now = r
		}
		if p.shadow[i] != nil && !slices.EqualFunc(now, p.shadow[i], same) {
			p.w.complain("%s: somebody wrote into result %d of a call", p.id, i)
		}
		p.results[i] = sdk.ErrorRecord{Error: modelError{task: p.id, id: "used again"}}
	}
	for _, recs := range p.parts {
		for i := range recs {
			recs[i] = modelForm{id: "0", pos: "used again", marks: ".used-again"}.record()
		}
	}
	p.results, p.shadow, p.parts = p.results[:0], p.shadow[:0], p.parts[:0]
}

// modelFakeTask is a task that marks its batch itself.
type modelFakeTask struct{ modelNodePart }

func (t *modelFakeTask) ID() string { return t.id }

func (t *modelFakeTask) Open(context.Context) error {
	t.w.opened(t.id)
	return nil
}

func (t *modelFakeTask) Close(context.Context) error {
	t.w.closed(t.id)
	return nil
}

func (t *modelFakeTask) Do(ctx context.Context, b *funnel.Batch) error {
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
	verdicts := make([]modelVerdict, len(recs))
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
		return errModelTask
	}
	return nil
}

// alike reports whether two records can be marked by one call.
func (t *modelFakeTask) alike(verdicts []modelVerdict, answers []bool, a, b int) bool {
	if !answers[a] || !answers[b] {
		return answers[a] == answers[b]
	}
	group := func(k modelVerdictKind) modelVerdictKind {
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
func (t *modelFakeTask) span(mark func(int, ...int), from, to int) {
	if to == from+1 && t.chance(50) {
		mark(from)
		return
	}
	mark(from, to)
}

func (t *modelFakeTask) nack(b *funnel.Batch, recs []opencdc.Record, forms []modelForm, verdicts []modelVerdict, at int) {
	var errs []error
	for i, v := range verdicts {
		t.leaves(recs[i], forms[i])
		if v.err != nil {
			errs = append(errs, v.err)
		}
	}
	b.Nack(at, errs...)
}
