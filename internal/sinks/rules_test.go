package sinks

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
)

// rules is what must hold at each call, and what has happened so far.
type rules struct {
	mu     sync.Mutex
	start  time.Time
	lines  []string // what has happened
	broken []string // the rules that were broken

	asked    time.Time   // when the worker that had the sink last asked for it
	opening  int         // calls of Open and Close of the sink that are under way
	openings int         // how often the sink was opened
	isClosed bool        // the sink was closed, or failed to open, at some time
	failure  *failure    // since the sink was opened last
	failures []failure   // all
	changed  []time.Time // when somebody may have given the sink back
	opened   []time.Time // when the sink was opened
}

// failure is a fault inside the sink.
type failure struct {
	worker *worker
	err    error
	at     time.Time
}

// add adds a line to what has happened.
func (r *rules) add(format string, args ...any) {
	r.lines = append(r.lines, fmt.Sprintf("%9d  ", time.Since(r.start).Microseconds())+fmt.Sprintf(format, args...))
}

// note is add for a caller that does not hold the mutex.
func (r *rules) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add(format, args...)
}

// breaks says that a rule is broken.
func (r *rules) breaks(format string, args ...any) {
	r.add("BROKEN: "+format, args...)
	r.broken = append(r.broken, fmt.Sprintf(format, args...))
}

// nowBreaks is breaks for a caller that does not hold the mutex.
func (r *rules) nowBreaks(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.breaks(format, args...)
}

func positions(records []opencdc.Record) []string {
	var all []string
	for _, record := range records {
		all = append(all, string(record.Position))
	}
	return all
}

// begin is called when a part is given records. It returns their worker and the number
// of the call.
func (p *part) begin(records []opencdc.Record) (*worker, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w, _ := p.placeOf(string(records[0].Position))
	p.calls[w]++
	p.add("%s %v", p.id, positions(records))
	switch {
	case p.isBusy:
		p.breaks("%s is called beside itself", p.id)
	case p.worker != nil && p.worker != w:
		p.breaks("%s is called for another worker", p.id)
	case w.isStopped:
		p.breaks("%s is called after Stop has returned", p.id)
	case p.bestEffort && p.hasFailed:
		p.breaks("%s is called after its branch has failed", p.id)
	case p.wasOpened && !p.isOpen:
		p.breaks("%s is called while it is closed", p.id)
	}
	p.isBusy = true
	for _, record := range records {
		p.checkCopy(w, string(record.Position))
	}
	w.stage = "at work outside"
	if p.worker == nil {
		w.stage = "inside the sink"
		p.checkTurn(w)
		w.calls++
		if slices.Contains(p.roots, p) {
			for _, record := range records {
				_, at := p.placeOf(string(record.Position))
				w.items[at.n].entered[string(record.Position)] = p.openings
			}
		}
	}
	return w, p.calls[w]
}

// checkCopy checks that a part may be given a copy.
func (p *part) checkCopy(w *worker, position string) {
	of, at := p.placeOf(position)
	if of != w || at.n < w.acked {
		p.breaks("%s is given %s, which is acked or another worker's", p.id, position)
		return
	}
	if _, again := w.items[at.n].through[p][position]; again {
		p.breaks("%s is given %s again", p.id, position)
	}
	if last, ok := p.last[w]; p.kind == isDestination && ok && !last.isBefore(at) {
		p.breaks("%s is given %s too late", p.id, position)
	}
	p.last[w] = at
}

// checkTurn checks that a worker may call a part of the sink.
func (p *part) checkTurn(w *worker) {
	for _, other := range p.workers {
		if other != w && (other.calls > 0 || other.hasUnfinished()) {
			p.breaks("worker %d uses the sink while worker %d has it", w.number, other.number)
		}
	}
	isLate := false // its branch has just failed beside it
	for f := p.forgiving; f != nil; f = f.outer {
		isLate = isLate || f.hasFailed
	}
	if w.calls > 0 || w.hasUnfinished() || isLate {
		if p.failure != nil && p.failure.worker != w {
			p.breaks("worker %d goes on in a sink that has failed", w.number)
		}
		return
	}
	switch { // it enters
	case p.failure != nil:
		p.breaks("worker %d enters a sink that has failed", w.number)
	case !slices.Contains(p.roots, p):
		p.breaks("worker %d enters the sink at %s", w.number, p.id)
	case w.returned.Before(p.asked):
		p.breaks("worker %d enters after somebody who has asked later", w.number)
	}
	if p.asked.Equal(w.returned) {
		p.counts["asked at the same time"]++
	} else if time.Now().After(w.returned) {
		p.counts["had to wait"]++
	}
	p.asked = w.returned
	p.counts["entered"]++
}

// answered is called when a part has an answer for the records.
func (p *part) answered(w *worker, records []opencdc.Record, answers []answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.add("%s answers %v", p.id, answers)
	nacked := make(map[*item]bool)
	noAnswer := true
	for i, a := range answers {
		_, at := p.placeOf(string(records[i].Position))
		if it := w.items[at.n]; a.kind == isNacked {
			nacked[it] = true
			if p.forgives(w) == nil {
				it.nacks = append(it.nacks, nack{p.id, a.err.Error()})
			} else {
				p.counts["forgiven"]++
			}
		}
		noAnswer = noAnswer && a.kind == isLeft
	}
	for i, a := range answers {
		position := string(records[i].Position)
		_, at := p.placeOf(position)
		it := w.items[at.n]
		var out []string
		switch {
		case a.kind == isFiltered || nacked[it]:
		case a.kind == isLeft:
			continue
		case a.kind == isSplit:
			for k := range a.pieces {
				out = append(out, position+string(rune('a'+k)))
			}
		default:
			out = []string{position}
		}
		if it.through[p] == nil {
			it.through[p] = make(map[string][]string)
		}
		it.through[p][position] = out
	}
	p.countAnswer(w, records, noAnswer)
}

// countAnswer counts, for each record, consecutive calls without an answer for any. The
// engine gives up after 16.
func (p *part) countAnswer(w *worker, records []opencdc.Record, noAnswer bool) {
	n := 0
	for _, position := range positions(records) {
		p.unanswered[position]++
		n = p.unanswered[position]
		if !noAnswer {
			delete(p.unanswered, position)
		}
	}
	if noAnswer && n == 16 {
		p.failLocked(w, fault{falls, funnel.ErrNoProgress})
	}
}

// finish is called at the end of each call, whatever its result.
func (p *part) finish(w *worker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isBusy = false
	if p.worker == nil {
		w.calls--
		w.inSink = time.Now()
		p.changed = append(p.changed, w.inSink)
	}
	if p.worker == nil || p.isEntering || w.isLinear {
		w.returned = time.Now()
		if p.kind != isSource && p.kind != isQueue {
			w.passed = w.returned
		}
	}
	if p.isEntering && slices.Contains(p.next, p.roots[0]) {
		w.stage = "waiting for the sink"
	}
}

// ask returns how often a part was given a copy.
func (p *part) ask(position string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.given[position]++
	return p.given[position]
}

// fallSilent is called when a part gives no answers from then on.
func (p *part) fallSilent(w *worker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent[w] = true
}

// isSilent returns true if a part gives no answer, and counts that.
func (p *part) isSilent(w *worker, records []opencdc.Record) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent[w] {
		p.countAnswer(w, records, true)
	}
	return p.silent[w]
}

// fail is called before a part fails.
func (p *part) fail(w *worker, f fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failLocked(w, f)
}

// failLocked is fail for a caller that holds the mutex.
func (p *part) failLocked(w *worker, f fault) {
	p.add("%s fails: %v", p.id, f.err)
	forgiving := p.forgives(w)
	if forgiving != nil && f.kind != panics {
		forgiving.hasFailed = true
		forgiving.failedIn = append(forgiving.failedIn, p.openings)
		w.maybe = append(w.maybe, f.err)
		p.counts["failed with best effort"]++
	} else {
		w.faults = append(w.faults, f)
		w.ends = append(w.ends, end{time.Now(), w.hasUnfinished()})
		p.counts["failed"]++
	}
	if p.worker == nil && (p.forgiving == nil || f.kind == panics) {
		p.counts["failed inside"]++
		p.failures = append(p.failures, failure{w, f.err, time.Now()})
		if p.failure == nil {
			p.failure = &p.failures[len(p.failures)-1]
		}
	}
}

// mayFail is called before a source fails with an error that Do need not report.
func (p *part) mayFail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.worker.maybe = append(p.worker.maybe, err)
	p.worker.isDone = true
}

// beginRead is called when a read begins.
func (p *part) beginRead() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.worker.stage == "" || p.worker.ahead == 0 {
		p.worker.stage = "reading"
	}
}

// endRead returns the next n records, or none at the end.
func (p *part) endRead(n int) []opencdc.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.worker
	w.isDone = n == 0
	var records []opencdc.Record
	for range n {
		position := positionOf(w, len(w.items))
		it := &item{through: make(map[*part]map[string][]string), entered: make(map[string]int)}
		it.through[p] = map[string][]string{position: {position}}
		w.items = append(w.items, it)
		records = append(records, record(position))
	}
	p.add("%s returns %v", p.id, positions(records))
	if w.isLinear && w.ahead == 0 {
		w.returned = time.Now()
	}
	if w.source == w.entry {
		w.stage = "waiting for the sink"
	}
	return records
}

// beginAck is called when a source is given acks. It returns the number of the call.
func (p *part) beginAck(acked []opencdc.Position) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.worker
	p.calls[w]++
	w.stage = "releasing"
	p.add("%s ack %q", p.id, acked)
	p.checkRelease()
	for _, position := range acked {
		if want := positionOf(w, w.acked); string(position) != want {
			p.breaks("%s is acked, and due is %s", position, want)
			return p.calls[w]
		}
		switch it := w.items[w.acked]; {
		case !it.isThrough(w, w.source, string(position)):
			p.breaks("%s is acked early", position)
		case len(it.nacks) > 0 && !it.stored:
			p.breaks("%s is acked, but was nacked and is not in the queue", position)
		}
		w.acked++
	}
	return p.calls[w]
}

// checkRelease checks that the worker of a part does not have the sink.
func (p *part) checkRelease() {
	w := p.worker
	if w.isStopped {
		p.breaks("worker %d releases records after Stop has returned", w.number)
	}
	if w.calls > 0 || !w.mayHaveEnded() && w.hasUnfinished() {
		p.breaks("worker %d releases records while it has the sink", w.number)
	}
}

// beginLetters is called when a queue is given letters. It returns the number of the
// call.
func (p *part) beginLetters(letters []opencdc.Record) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.worker
	p.calls[w]++
	w.stage = "releasing"
	p.add("%s %v", p.id, positions(letters))
	p.checkRelease()
	for _, letter := range letters {
		of, at := p.placeOf(string(letter.Position))
		it := w.items[at.n]
		taskID, err1 := letter.Metadata.GetConduitDLQNackNodeID()
		text, err2 := letter.Metadata.GetConduitDLQNackError()
		switch {
		case of != w || at.n < w.acked || it.stored:
			p.breaks("a second letter, or one of another worker, for %s", letter.Position)
		case !slices.Contains(it.nacks, nack{taskID, text}) || errors.Join(err1, err2) != nil:
			p.breaks("a letter for %s says %q of task %q, and it was not nacked so: %v", letter.Position, text, taskID, it.nacks)
		}
		for n := w.acked; n <= at.n; n++ {
			if !w.items[n].isThrough(w, w.source, positionOf(w, n)) {
				p.breaks("a letter for %s before %s is done", letter.Position, positionOf(w, n))
			}
		}
	}
	return p.calls[w]
}

// store puts letters into the queue.
func (p *part) store(letters []opencdc.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, letter := range letters {
		_, at := p.placeOf(string(letter.Position))
		p.worker.items[at.n].stored = true
	}
	p.counts["letters"] += len(letters)
}

// setOpen opens or closes a part, unless that is to fail.
func (p *part) setOpen(isOpen bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.add("%s is opened: %t", p.id, isOpen)
	if p.isOpen == isOpen {
		p.breaks("%s is opened or closed twice", p.id)
	}
	if p.worker == nil {
		p.checkOpening()
	}
	if len(p.openFaults) > 0 {
		f := p.openFaults[0]
		p.openFaults = p.openFaults[1:]
		if f != noFault && p.worker == nil {
			p.isClosed = true
			p.counts["failed to open or close"]++
		}
		switch f {
		case fails:
			return fmt.Errorf("%s fails to open or close", p.id)
		case panics:
			panic(p.id + " panics")
		case exits:
			runtime.Goexit()
		}
	}
	p.isOpen, p.wasOpened = isOpen, true
	if p.worker == nil && !isOpen {
		p.isClosed = true
	}
	if p == p.parts[len(p.parts)-1] && isOpen {
		p.openings++
		p.opened = append(p.opened, time.Now())
		p.failure = nil
		for _, part := range p.parts {
			part.hasFailed = false
		}
		p.counts["opened"]++
	}
	return nil
}

// checkOpening checks that nobody uses the sink.
func (p *part) checkOpening() {
	if p.opening == 0 {
		p.breaks("%s is opened or closed by somebody else than the sink", p.id)
	}
	for _, w := range p.workers {
		if w.calls > 0 || !w.mayHaveEnded() && w.hasUnfinished() {
			p.breaks("%s is opened or closed while worker %d has the sink", p.id, w.number)
		}
	}
}
