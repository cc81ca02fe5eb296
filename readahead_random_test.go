package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
	sdk "github.com/conduitio/conduit-processor-sdk"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/connector"
)

// The random tests of reading ahead. A seed gives a pipeline, what its source
// returns, what becomes of each record, how long everything takes, what goes
// wrong and when it is stopped. What becomes of a record depends on nothing but
// the record and the task, so that what must have happened before it is acked is
// known, whatever the batches were.

// TestWithReadAhead_random stops and breaks random pipelines at random times.
func TestWithReadAhead_random(t *testing.T) {
	plans := 1500
	if testing.Short() {
		plans = 150
	}
	for seed := range uint64(plans) {
		p := drawWild(seed, true)
		synctest.Test(t, func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("the plan that has failed: %+v", p)
				}
			}()
			p.build(t).run(t)
		})
	}
}

// TestWithReadAhead_sameAsSequential runs random pipelines to their end, with and
// without reading ahead, and compares what has happened.
func TestWithReadAhead_sameAsSequential(t *testing.T) {
	plans := 200
	if testing.Short() {
		plans = 20
	}
	for seed := range uint64(plans) {
		runs := make(map[int]*wildRun)
		for _, ahead := range []int{0, 1, 50} {
			p := drawWild(seed, false)
			p.ahead = ahead
			synctest.Test(t, func(t *testing.T) {
				w := p.build(t)
				w.end = <-start(t.Context(), w.worker)
				wantNoError(t, w.worker.Close(t.Context()))
				runs[ahead] = w
			})
		}
		for ahead, run := range runs {
			for _, who := range []string{"ack", "dlq", "out0", "out1"} {
				if got, want := run.flat(who), runs[0].flat(who); got != want {
					t.Errorf("%s with %d ahead: %s, want %s", who, ahead, got, want)
				}
			}
			if got, want := fmt.Sprint(run.end.err), fmt.Sprint(runs[0].end.err); got != want {
				t.Errorf("Do with %d ahead: %s, want %s", ahead, got, want)
			}
		}
		if t.Failed() {
			t.Fatalf("the plan that has failed: %+v", runs[0].wildPlan)
		}
	}
}

// wildPlan is a pipeline and what happens to it.
type wildPlan struct {
	seed     uint64
	ahead    int
	reads    []int  // how many records each read returns
	ends     string // what the read after them does
	trunk    int    // processors before the branches
	branches int
	isWild   bool // pieces fail, too
	isSlow   bool // calls take time

	fault string // what goes wrong
	nth   int    // at which call

	ignoresContext bool // a pending read does
	teardownFails  int  // so often
	controls       []wildControl
}

// wildControl is a call of Stop or Close, or the end of the context of Do.
type wildControl struct {
	what        string
	at, timeout time.Duration // the latter is 0 for none
}

func drawWild(seed uint64, isWild bool) *wildPlan {
	r := rand.New(rand.NewPCG(seed, 0))
	p := &wildPlan{seed: seed, isWild: isWild, isSlow: r.IntN(4) > 0}
	p.ahead = []int{1, 2, 5, 100}[r.IntN(4)]
	p.trunk, p.branches = r.IntN(3), 1+r.IntN(2)
	for range r.IntN(25) {
		p.reads = append(p.reads, r.IntN(4))
	}
	ends := []string{"eof", "eof with records", "error", "error with records", "canceled", "no position"}
	if isWild {
		ends = append(ends, "block", "block", "block", "panic")
		faults := []string{"", "", "", "", "write", "acks", "dlq", "ack", "ack eof", "task", "panic"}
		p.fault, p.nth = faults[r.IntN(len(faults))], 1+r.IntN(6)
		p.ignoresContext = r.IntN(2) == 0
		p.teardownFails = max(0, r.IntN(5)-2)
		for range r.IntN(4) {
			c := wildControl{what: []string{"stop", "stop", "close", "cancel"}[r.IntN(4)]}
			c.at = time.Duration(r.IntN(100)) * time.Millisecond / 2
			if r.IntN(3) == 0 {
				c.timeout = time.Duration(r.IntN(20)) * time.Millisecond / 2
			}
			p.controls = append(p.controls, c)
		}
	}
	p.ends = ends[r.IntN(len(ends))]
	return p
}

// chance returns a number below 100 that depends on the words only.
func (p *wildPlan) chance(words ...string) int {
	h := fnv.New64a()
	fmt.Fprint(h, p.seed, words)
	return int(h.Sum64() % 100)
}

// dice returns chance for a part of the pipeline.
func (p *wildPlan) dice(part string) *rand.Rand {
	return rand.New(rand.NewPCG(p.seed, uint64(p.chance(part))))
}

// verdict says what a processor does with a record.
func (p *wildPlan) verdict(task, id string) string {
	switch n := p.chance(task, id); {
	case n < 8:
		return "filter"
	case n < 16 && (p.isWild || isWhole(id)):
		return "fail"
	case n < 24:
		return "split"
	case n < 32:
		return "wait" // no answer the first time
	default:
		return "pass"
	}
}

func isWhole(id string) bool { return strings.Trim(id, "0123456789") == "" }

// refuses returns true if a destination nacks a record.
func (p *wildPlan) refuses(destination, id string) bool { return p.chance(destination, id) < 4 }

// way returns what a record has become behind the processors, and whether it is
// nacked by then, or a piece of it.
func (p *wildPlan) way(id string, tasks []string) (ids []string, isNacked bool) {
	if len(tasks) == 0 {
		return []string{id}, false
	}
	next := []string{id}
	switch p.verdict(tasks[0], id) {
	case "filter":
		return nil, false
	case "fail":
		return nil, true
	case "split":
		next = []string{id + "a", id + "b"}
	}
	for _, id := range next {
		more, nacked := p.way(id, tasks[1:])
		ids, isNacked = append(ids, more...), isNacked || nacked
	}
	return ids, isNacked
}

// wildRun is a run of a plan.
type wildRun struct {
	*wildPlan
	*journal
	t      *testing.T
	source *strictSource
	worker *funnel.Worker
	ways   map[string][]string // the processors before each destination
	end    ending              // of Do

	mu         sync.Mutex
	read       []string        // the records that were read and are to be processed
	acked      int             // how many of them
	confirmed  map[string]bool // "destination record"
	hasFired   bool            // the fault has happened
	hasEnded   bool            // the source has, as planned
	isTorn     bool
	isCanceled bool
	isStopping bool // Stop or Close was called
	isOver     bool // Do has ended
}

var (
	errWildRead     = errors.New("the read has failed")
	errWildTorn     = errors.New("torn down")
	errWildTeardown = errors.New("the teardown has failed")
)

// note changes what is known of a run.
func (w *wildRun) note(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// fires returns true if the fault happens at this call.
func (w *wildRun) fires(fault string, call int) bool {
	if w.fault != fault || w.nth != call {
		return false
	}
	w.note(func() { w.hasFired = true })
	return true
}

// pause is how every call of a connector or processor begins.
func (w *wildRun) pause(r *rand.Rand) {
	w.note(func() {
		if w.isOver {
			w.t.Error("something is called after the end of Do")
		}
	})
	if n := r.IntN(10); w.isSlow && n < 5 {
		time.Sleep(time.Duration(n) * time.Millisecond / 2)
	}
}

func (p *wildPlan) build(t *testing.T) *wildRun {
	w := &wildRun{wildPlan: p, journal: &journal{}, t: t, ways: make(map[string][]string), confirmed: make(map[string]bool)}
	w.source = &strictSource{t: t, fakeSource: newSource(w.journal)}
	w.source.read, w.source.ack, w.source.teardown = w.reads(), w.acks(), w.teardowns()
	first := from(w.source)
	last, trunk := first, []string(nil)
	for i := range p.trunk {
		id := "p" + strconv.Itoa(i)
		trunk = append(trunk, id)
		last.Next = []*funnel.TaskNode{through(id, w.processor(id))}
		last = last.Next[0]
	}
	for i := range p.branches {
		id, out := "branch"+strconv.Itoa(i), "out"+strconv.Itoa(i)
		w.ways[out] = append(slices.Clone(trunk), id)
		last.Next = append(last.Next, chain(through(id, w.processor(id)), to(w.destination(out, "write"))))
	}
	w.worker = newAhead(t, p.ahead, first, queue(w.destination("dlq", "dlq")), nil)
	return w
}

// reads returns the Read of the source.
func (w *wildRun) reads() func(context.Context) ([]opencdc.Record, error) {
	r, calls := w.dice("read"), 0
	next := func() []opencdc.Record {
		id := strconv.Itoa(len(w.read) + 1)
		w.read = append(w.read, id)
		return records(id)
	}
	return func(ctx context.Context) (recs []opencdc.Record, err error) {
		w.pause(r)
		if calls++; calls > len(w.wildPlan.reads) && w.ends == "block" {
			if w.ignoresContext {
				ctx = context.Background()
			}
			select {
			case <-w.source.torn:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		select {
		case <-w.source.torn: // what it returns now does not count
			return records("late"), []error{nil, io.EOF, errWildTorn}[r.IntN(3)]
		default:
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if calls <= len(w.wildPlan.reads) {
			for range w.wildPlan.reads[calls-1] {
				recs = append(recs, next()...)
			}
			return recs, nil
		}
		if w.hasEnded {
			w.t.Error("the source is read after its end")
		}
		w.hasEnded = true
		switch w.ends {
		case "eof":
			return nil, io.EOF
		case "eof with records":
			return append(next(), next()...), io.EOF
		case "error":
			return nil, errWildRead
		case "error with records":
			return records("dropped"), errWildRead
		case "canceled":
			return nil, context.Canceled
		case "no position":
			return records("dropped", ""), nil
		default:
			panic(errWildRead)
		}
	}
}

// acks returns the Ack of the source. It checks that each record may be acked.
func (w *wildRun) acks() func(context.Context, []opencdc.Position) error {
	r, calls := w.dice("ack"), 0
	return func(_ context.Context, positions []opencdc.Position) error {
		w.note(func() {
			for _, position := range positions {
				if w.acked == len(w.read) || w.read[w.acked] != string(position) {
					w.t.Errorf("%s is acked after %d of the records %v", position, w.acked, w.read)
				}
				w.acked++
				w.checkDone(string(position))
			}
			clear(positions)
		})
		w.pause(r)
		switch calls++; {
		case w.fires("ack", calls):
			return errTest
		case w.fires("ack eof", calls):
			return io.EOF
		}
		return nil
	}
}

// checkDone fails the test if a source record was not written to the end of its
// ways, or to the dead-letter queue. The caller holds the lock.
func (w *wildRun) checkDone(id string) {
	var want []string
	isNacked := false
	for out, tasks := range w.ways {
		ids, nacked := w.way(id, tasks)
		isNacked = isNacked || nacked
		for _, id := range ids {
			isNacked = isNacked || w.refuses(out, id)
			want = append(want, out+" "+id)
		}
	}
	if isNacked {
		want = []string{"dlq " + id}
	} else if w.confirmed["dlq "+id] {
		w.t.Errorf("%s is in the dead-letter queue", id)
	}
	for _, line := range want {
		if !w.confirmed[line] {
			w.t.Errorf("%s is acked before %q was confirmed", id, line)
		}
	}
}

// teardowns returns the Teardown of the source.
func (w *wildRun) teardowns() func(context.Context) error {
	r, fails := w.dice("teardown"), w.teardownFails
	return func(context.Context) error {
		time.Sleep(time.Duration(r.IntN(4)) * time.Millisecond)
		if fails--; fails >= 0 {
			return errWildTeardown
		}
		w.note(func() {
			if w.isTorn {
				w.t.Error("the source is torn down again")
			}
			w.isTorn = true
		})
		return nil
	}
}

// destination returns a destination that acks what it is given in several goes.
func (w *wildRun) destination(name, fault string) *fakeDestination {
	d := newDestination(w.journal, name)
	r, writes, acks := w.dice(name), 0, 0
	d.write = func(_ context.Context, recs []opencdc.Record) error {
		w.pause(r)
		for i, rec := range recs {
			if name != "dlq" && w.refuses(name, string(rec.Position)) {
				d.pending[i].Error = errTest
			}
		}
		if writes++; w.fires(fault, writes) {
			return errTest
		}
		return nil
	}
	d.acks = func(context.Context) (some []connector.DestinationAck, err error) {
		w.pause(r)
		if acks++; name != "dlq" && w.fires("acks", acks) {
			return nil, errTest
		}
		n := 1 + r.IntN(len(d.pending))
		some, d.pending = d.pending[:n], d.pending[n:]
		w.note(func() {
			for _, ack := range some {
				w.confirmed[name+" "+string(ack.Position)] = ack.Error == nil
			}
		})
		return some, nil
	}
	return d
}

// processor returns a processor that does what the plan says, and at times answers
// for some records only.
func (w *wildRun) processor(id string) fakeProcessor {
	r, calls := w.dice(id), 0
	waited := make(map[string]bool)
	return func(_ context.Context, recs []opencdc.Record) []sdk.ProcessedRecord {
		w.pause(r)
		switch calls++; {
		case w.fires("task", calls):
			return nil
		case w.fires("panic", calls):
			panic(errTest)
		}
		if r.IntN(4) == 0 {
			recs = recs[:1+r.IntN(len(recs))]
		}
		results := make([]sdk.ProcessedRecord, len(recs))
		for i, rec := range recs {
			p := string(rec.Position)
			switch v := w.verdict(id, p); {
			case v == "filter":
				results[i] = sdk.FilterRecord{}
			case v == "fail":
				results[i] = sdk.ErrorRecord{Error: errFor(p)}
			case v == "split":
				results[i] = splitInto(rec, 2)
			case v == "wait" && !waited[p]:
				waited[p] = true
			default:
				results[i] = sdk.SingleRecord(rec)
			}
		}
		return results
	}
}

// run runs the pipeline while the controls are used, closes it and checks how it
// has ended.
func (w *wildRun) run(t *testing.T) {
	wantNoError(t, w.worker.Open(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for _, c := range w.controls {
		wg.Go(func() {
			time.Sleep(c.at)
			w.control(c, cancel)
		})
	}
	var isStopping, isCanceled bool // when Do has ended
	wg.Go(func() {
		w.end = <-start(ctx, w.worker)
		w.note(func() { w.isOver, isStopping, isCanceled = true, w.isStopping, w.isCanceled })
	})
	time.Sleep(10 * time.Second)
	for range w.teardownFails + 1 {
		w.control(wildControl{what: "close"}, nil)
	}
	wg.Wait()
	if !w.isTorn {
		t.Error("the source was not torn down")
	}
	w.checkEnd(isStopping, isCanceled)
}

// control stops the run in some way, or tries to.
func (w *wildRun) control(c wildControl, cancel func()) {
	ctx := w.t.Context()
	if c.timeout > 0 {
		var end func()
		ctx, end = context.WithTimeout(ctx, c.timeout)
		defer end()
	}
	var err error
	switch c.what {
	case "cancel":
		w.note(func() { w.isCanceled = true })
		cancel()
	case "stop":
		w.note(func() { w.isStopping = true })
		err = w.worker.Stop(ctx)
	case "close":
		w.note(func() { w.isStopping = true })
		err = w.worker.Close(ctx)
	}
	isDue := err == nil ||
		c.timeout > 0 && errors.Is(err, context.DeadlineExceeded) ||
		w.teardownFails > 0 && errors.Is(err, errWildTeardown)
	if !isDue {
		w.t.Errorf("%s has returned %v", c.what, err)
	}
}

// checkEnd fails the test if Do has not ended as it should have: what may have
// stopped it is the fault, the end of the source, a stop or the end of its
// context, and nothing but the latter two may make it leave records behind.
func (w *wildRun) checkEnd(isStopping, isCanceled bool) {
	err, isEOF := w.end.err, w.hasEnded && strings.HasPrefix(w.ends, "eof")
	hasPanicked := w.hasFired && w.fault == "panic" || w.hasEnded && w.ends == "panic"
	var reason error // of the source
	if w.hasEnded {
		reason = map[string]error{"error": errWildRead, "error with records": errWildRead, "canceled": context.Canceled}[w.ends]
	}
	isReason := reason != nil && errors.Is(err, reason) || w.hasEnded && w.ends == "no position" && funnel.IsFatalError(err)
	var isDue bool
	switch {
	case hasPanicked || w.end.panicked != nil:
		isDue = hasPanicked && w.end.panicked != nil
	case w.hasFired:
		isDue = err != nil
	case err == nil:
		isDue = isStopping || isEOF
	default:
		isDue = isReason || isCanceled && errors.Is(err, context.Canceled)
	}
	if !isDue || w.end.exited || errors.Is(err, errWildTorn) {
		w.t.Errorf("Do has ended with %+v", w.end)
	}
	if isUndisturbed := !w.hasFired && !isStopping && !isCanceled; isUndisturbed && w.acked != len(w.read) {
		w.t.Errorf("%d of %d records are acked", w.acked, len(w.read))
	}
}
