package funnel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/reuse"
)

// WithReadAhead lets the worker read the source further while a batch is on its
// way. All that has arrived by the time the batch is done becomes the next one:
// a source that returns single records gets large batches as long as the
// pipeline is slower than the source, and no record waits for others otherwise.
// A read begins only while fewer than so many records wait, so up to one less and
// what a read returns may wait, besides the batch on its way. With less than 1
// [NewWorker] returns an error.
//
// The source must allow [Source.Ack] beside [Source.Read]. The first task, with
// its metrics, is used on another goroutine than the others, with a context
// derived from that of Do that ends when Do returns. Otherwise nothing changes,
// the order of acks and what Do returns least of all: an error of a read is
// returned, and a panic comes back, once the records of the reads before it were
// processed.
//
// When the worker is stopped, or ends with an error, what was read ahead is
// dropped unacked. In the latter case, if a read is pending, Do tears the source
// down to end it, with a context that does not end, and waits for it.
//
// A first task other than a [SourceTask] may mark records; they are not put
// together with those of other reads. But it cannot have them again: to mark them
// with [Batch.Retry] is an error. What it settles itself by [Worker.Ack] or
// [Worker.Nack] is settled at once, before what was read earlier and still waits.
func WithReadAhead(records int) WorkerOption {
	return readAheadOption(records)
}

type readAheadOption int

func (o readAheadOption) apply(w *Worker) error {
	if o < 1 {
		return fmt.Errorf("cannot read ahead %d records: at least 1 is needed", int(o))
	}
	w.readAhead = int(o)
	return nil
}

// reader reads the source on a goroutine of its own, ahead of the worker, until
// there is no more to read or the worker ends.
type reader struct {
	worker *Worker
	cancel context.CancelFunc // ends the context of the reads

	ready chan struct{} // gets a value when there may be something to take
	room  chan struct{} // gets a value when there may be room for what is read next
	done  chan struct{} // closed when the goroutine has ended

	mu       sync.Mutex
	arrivals []arrival        // what waits to be processed
	waiting  int              // the number of records in them
	taken    []opencdc.Record // the buffer that the batch on its way is in
	memory   reuse.Buffer[opencdc.Record]
	reads    int         // how many reads have returned
	reading  bool        // one is pending
	quit     bool        // none begins any more
	ended    bool        // there are no more, because the source has no more records, or:
	err      error       // the last one has failed
	panicked *PanicError // the last one has panicked
	isTorn   bool        // when that was, tearing the source down may have begun
}

// arrival is what is to become a batch: the records of one or more reads.
type arrival struct {
	records   []opencdc.Record
	positions []opencdc.Position
	readAt    []time.Time // if a timer wants to know
	isMerged  bool        // the records are in a buffer of the reader

	// marked is a batch in which the first task has marked or lost records, or
	// which it has settled. Then it is the only thing that is set.
	marked *Batch
}

// runAhead runs the worker while a reader reads ahead. When it returns, the
// reader has ended.
func (w *Worker) runAhead(ctx context.Context) (err error) {
	w.reader = &reader{
		worker: w,
		ready:  make(chan struct{}, 1),
		room:   make(chan struct{}, 1),
		done:   make(chan struct{}),
	}
	var readCtx context.Context
	readCtx, w.reader.cancel = context.WithCancel(ctx)
	go w.reader.run(readCtx)
	isOver := false
	defer func() { // also if something has panicked, or ends the goroutine
		isStopped := isOver && err == nil
		var failed outcome
		failed.add(err, nil)
		failed.try(func() error { return w.reader.stop(ctx, isStopped) })
		failed.add(nil, w.reader.panicked)
		if e := w.reader.unsaid(ctx, isStopped); e != nil && (err == nil || !isAny(err, e)) {
			failed.add(e, nil)
		}
		if !isOver && !failed.isFailure() {
			return // the panic, or the end of the goroutine, goes on
		}
		if value := recover(); value != nil {
			failed = outcome{errs: failed.all(), panicked: newPanicError(value)}
		}
		err = failed.result()
	}()
	err = w.run(ctx)
	isOver = true
	return err
}

// run reads until there is no more to read, and notes how that has ended.
func (r *reader) run(ctx context.Context) {
	guard(func() error {
		r.readOn(ctx)
		return nil
	}, func(err error, panicked *PanicError) {
		if err != nil {
			err = r.worker.taskError(r.worker.FirstTask, err)
		}
		if err != nil || panicked != nil {
			r.end(err, panicked)
		}
		close(r.done)
	})
}

// readOn reads until there is no more to read.
func (r *reader) readOn(ctx context.Context) {
	b, o := &Batch{}, &origin{}
	for r.begin(ctx) {
		*b = Batch{}
		b.comeFrom(o)
		o.reset()
		isLast, err := r.worker.readInto(ctx, b)
		if err == nil {
			err = r.check(b)
		}
		if err != nil {
			r.end(err, nil)
			return
		}
		if r.add(b) {
			b, o = &Batch{}, &origin{}
		}
		if isLast {
			r.end(nil, nil)
		}
	}
}

// check returns an error if what a read has returned cannot become a batch.
func (r *reader) check(b *Batch) error {
	err := b.origin.checkPositions()
	if err == nil && !b.settled && (b.counts[RecordFlagRetry] > 0 || b.rest != nil) {
		err = FatalError(errors.New("the first task wants records again, which is not possible if they are read ahead"))
	}
	if err != nil {
		return r.worker.taskError(r.worker.FirstTask, err)
	}
	return nil
}

// begin waits until there is room for what is read next. It returns false if
// there is nothing more to read.
func (r *reader) begin(ctx context.Context) bool {
	for {
		r.mu.Lock()
		if r.worker.Stopping() {
			r.ended = true
		}
		isOver := r.quit || r.ended || ctx.Err() != nil
		r.reading = !isOver && r.waiting < r.worker.readAhead
		isReading := r.reading
		r.mu.Unlock()
		if isOver {
			signal(r.ready)
		}
		if isOver || isReading {
			return isReading
		}
		<-r.room
	}
}

// add adds what a read has returned. It returns true if it keeps the batch.
func (r *reader) add(b *Batch) (isKept bool) {
	n := len(b.origin.positions)
	var readAt []time.Time
	if n > 0 && r.worker.isTiming.now() {
		readAt = slices.Repeat([]time.Time{time.Now()}, n)
	}
	defer signal(r.ready)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reading = false
	r.reads++
	if n == 0 {
		return false
	}
	r.waiting += n
	if !b.isAsRead() || b.recs.Len() != n {
		b.origin.readAt = readAt
		r.arrivals = append(r.arrivals, arrival{marked: b})
		return true
	}
	next := arrival{records: b.recs.All(), positions: b.origin.positions, readAt: readAt}
	if len(r.arrivals) > 0 && r.arrivals[len(r.arrivals)-1].marked == nil {
		r.merge(&r.arrivals[len(r.arrivals)-1], next)
	} else {
		r.arrivals = append(r.arrivals, next)
	}
	return false
}

// merge makes what has arrived last a part of what has arrived before.
func (r *reader) merge(last *arrival, next arrival) {
	if !last.isMerged {
		last.records = append(r.memory.Take(0), last.records...)
		last.isMerged = true
	}
	last.records = append(last.records, next.records...)
	last.positions = append(last.positions, next.positions...)
	last.readAt = append(last.readAt, next.readAt...)
}

// end notes that there is no more to read, and why.
func (r *reader) end(err error, panicked *PanicError) {
	r.mu.Lock()
	r.reading, r.ended = false, true
	r.err, r.panicked, r.isTorn = err, panicked, r.worker.Stopping()
	r.mu.Unlock()
	signal(r.ready)
}

// take puts what has arrived first, if need be waiting for it, into an empty
// batch, or returns another batch that holds it. It returns true if there is
// nothing any more. The batch that was taken before is done.
func (r *reader) take(ctx context.Context, b *Batch) (taken *Batch, isLast bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.memory.Put(r.taken)
	r.taken = nil
	for len(r.arrivals) == 0 && !r.ended {
		if err := r.wait(ctx); err != nil {
			return nil, false, err
		}
	}
	if len(r.arrivals) == 0 {
		return b, true, r.err
	}
	next := r.arrivals[0]
	if len(r.arrivals) == 1 {
		r.arrivals = slices.Delete(r.arrivals, 0, 1) // to be used again
	} else {
		r.arrivals[0] = arrival{}
		r.arrivals = r.arrivals[1:]
	}
	defer signal(r.room)
	if next.marked != nil {
		r.waiting -= len(next.marked.origin.positions)
		return next.marked, false, nil
	}
	r.waiting -= len(next.records)
	if next.isMerged {
		r.taken = next.records
	}
	b.hold(next.records, next.positions)
	b.origin.isChecked = true // by check
	if len(next.readAt) == len(next.records) {
		b.origin.readAt = next.readAt // otherwise the timer was off for a while
	}
	return b, false, nil
}

// next drops what has arrived and waits for what the next read says. A read that
// is pending has begun before, so it is the one after it that counts, unless the
// pending one fails.
func (r *reader) next(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := r.reads + 1
	if r.reading {
		last++
	}
	for !r.ended && r.reads < last {
		r.arrivals, r.waiting = nil, 0
		signal(r.room)
		if err := r.wait(ctx); err != nil {
			return err
		}
	}
	return r.err
}

// wait waits until something may have changed. The caller holds the lock.
func (r *reader) wait(ctx context.Context) error {
	r.mu.Unlock()
	defer r.mu.Lock()
	select {
	case <-r.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop waits for the end of the goroutine. If the worker has not been stopped,
// nobody else need end a pending read, so stop does.
func (r *reader) stop(ctx context.Context, isStopped bool) error {
	r.mu.Lock()
	r.quit = true
	isReading := r.reading
	r.mu.Unlock()
	signal(r.room)
	defer func() {
		<-r.done
		r.cancel()
	}()
	if !isReading || isStopped {
		return nil
	}
	return r.endRead(context.WithoutCancel(ctx))
}

// endRead tears the source down, unless the worker is being stopped, which does
// so. Then it ends the context of the read.
func (r *reader) endRead(ctx context.Context) error {
	defer r.cancel()
	w := r.worker
	select {
	case w.turn <- struct{}{}:
	case <-w.gate.Closed():
		return nil
	}
	defer w.endTurn()
	if w.Stopping() {
		return nil
	}
	if err := w.gate.Close(ctx); err != nil { // which does not wait: nobody is inside any more
		return err
	}
	return w.source.shut(ctx)
}

// unsaid returns the error of a read that nothing else may hide. That a read fails
// is no error once the source is being torn down, or the context has ended; that
// its goroutine has ended always is.
func (r *reader) unsaid(ctx context.Context, isStopped bool) error {
	isDue := !isStopped && !r.isTorn && (ctx.Err() == nil || !isOnly(r.err, ctx.Err(), context.Cause(ctx)))
	if r.err != nil && (isDue || isAny(r.err, ErrGoexit)) {
		return r.err
	}
	return nil
}

// signal puts a value into a channel that has room for one, unless there is one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
