package sinks

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
)

// world is a sink, the workers that share it, and everything that has happened to them.
type world struct {
	seed    uint64
	isCalm  bool          // nothing fails but best-effort branches, and nobody ends early
	grain   time.Duration // of all times: a large one makes much happen at the same time
	sink    *funnel.Sink
	parts   []*part // of the sink, in the order in which they are opened
	roots   []*part
	workers []*worker
	counts  map[string]int // how often something of interest has happened
	rules
}

// roll returns random numbers that depend only on the seed and these words, not on the
// order of calls.
func (o *world) roll(words ...any) *rand.Rand {
	hash := fnv.New64a()
	fmt.Fprintln(hash, words...)
	return rand.New(rand.NewPCG(o.seed, hash.Sum64()))
}

// grained returns a time that happens in this world.
func (o *world) grained(d time.Duration) time.Duration { return d.Truncate(o.grain) }

// worker is a worker with its source and its queue.
type worker struct {
	*world
	number  int
	source  *part
	entry   *part // the node from which it enters the sink
	batches []int // sizes
	letters *part // the destination of the queue
	atEnd   last
	ahead   int
	whole   bool
	queue   queue

	engine *funnel.Worker
	ctx    context.Context
	cancel context.CancelCauseFunc
	cause  error // with which the context may be cancelled

	account
}

// last is what the last read of a source does.
type last int

const (
	endless last = iota // it blocks
	endEOF
	endFails
)

// queue is how the dead-letter queue of a worker is made.
type queue struct {
	isNone          bool
	size, threshold int
}

// kind is what a part does.
type kind int

const (
	isSource kind = iota
	isProcessor
	isCustom      // a custom task
	isDestination // the end of a path
	isEnd         // a custom task at the end of a path
	isQueue
)

// part is a task or connector.
type part struct {
	*world
	worker     *worker // nil in the sink
	id         string
	kind       kind
	next       []*part
	bestEffort bool
	forgiving  *part // the best-effort part that begins the branch, the nearest one, or nil
	outer      *part // of a best-effort part: the nearest one above
	isEntering bool  // on the walk that enters the sink
	faults     map[call]fault
	openFaults []faultKind // how the next calls of Open and Close end

	// Guarded by the mutex of the rules.
	isOpen, wasOpened bool
	isBusy            bool
	hasFailed         bool  // a best-effort part, which is skipped since
	failedIn          []int // and in which openings of the sink
	calls             map[*worker]int
	given             map[string]int    // how often a copy was given to it
	last              map[*worker]place // the last copy that a destination was given
	unanswered        map[string]int    // for a copy: consecutive calls without an answer for any
	silent            map[*worker]bool
}

// call is the n-th call of a part for a worker.
type call struct {
	worker, n int
}

// fault is how a call fails.
type fault struct {
	kind faultKind
	err  error // by which the fault is known
}

type faultKind int

const (
	noFault faultKind = iota
	fails
	panics
	exits
	falls // silent: it gives no answer from then on
)

// place is the place of a copy in its source: the number of the source record, and the
// letters of the pieces.
type place struct {
	n       int
	letters string
}

func (p place) isBefore(q place) bool { return p.n < q.n || p.n == q.n && p.letters < q.letters }

// positionOf returns the position of the n-th record of a worker.
func positionOf(w *worker, n int) string { return fmt.Sprintf("%d/%d", w.number, n) }

// placeOf returns the worker and the place that a position tells.
func (o *world) placeOf(position string) (*worker, place) {
	worker, rest, _ := strings.Cut(position, "/")
	digits := strings.TrimRight(rest, "abc")
	w, err1 := strconv.Atoi(worker)
	n, err2 := strconv.Atoi(digits)
	if err1 != nil || err2 != nil {
		panic("not a position: " + position)
	}
	return o.workers[w], place{n, rest[len(digits):]}
}

// forgives returns the best-effort part on whose branch a part is for a worker, or nil.
func (p *part) forgives(w *worker) *part {
	if p.forgiving == nil && p.worker == nil {
		return w.entry.forgiving
	}
	return p.forgiving
}

// all returns the parts from here on that belong to the same worker, or to the sink.
func (p *part) all() []*part {
	parts := []*part{p}
	for _, next := range p.next {
		if next.worker == p.worker {
			parts = append(parts, next.all()...)
		}
	}
	return parts
}

// describe writes a part, and those after it, as a line each.
func (p *part) describe(b *strings.Builder, depth int) {
	name := [...]string{"source", "processor", "custom", "destination", "custom end", "queue"}[p.kind]
	fmt.Fprintf(b, "%s%s, %s", strings.Repeat("  ", depth), p.id, name)
	if p.bestEffort {
		b.WriteString(", best effort")
	}
	for c, f := range p.faults {
		fmt.Fprintf(b, ", fault %d in call %d of worker %d", f.kind, c.n, c.worker)
	}
	b.WriteString("\n")
	for _, next := range p.next {
		if next.worker == p.worker {
			next.describe(b, depth+1)
		} else {
			fmt.Fprintf(b, "%s-> the sink\n", strings.Repeat("  ", depth+1))
			break
		}
	}
}

func (o *world) String() string {
	b := &strings.Builder{}
	b.WriteString("sink\n")
	for _, root := range o.roots {
		root.describe(b, 1)
	}
	for _, w := range o.workers {
		fmt.Fprintf(b, "worker %d: batches %v, end %d, ahead %d, whole batches %t, queue %+v\n",
			w.number, w.batches, w.atEnd, w.ahead, w.whole, w.queue)
		w.source.describe(b, 1)
		w.letters.describe(b, 1)
	}
	return b.String()
}

// record returns a record.
func record(position string) opencdc.Record { return fake.Records(position)[0] }
