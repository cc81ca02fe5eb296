package funnel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/batch"
	"github.com/conduitio/funnel/internal/reuse"
)

// WithReadAhead lets the worker read while a batch is in flight. All records that have
// arrived when the batch is done become the next batch. So a source of single records
// gets large batches while the pipeline is slower than the source, and no record waits
// for others when it is not. At most records-1 records plus one read are buffered
// besides the batch in flight. [NewWorker] returns an error if records < 1.
//
// The source must allow [Source.Ack] during [Source.Read]. The first task, with its
// metrics, runs on a goroutine of its own. Its context is derived from that of Do and
// ends when Do returns. Everything else is unchanged. A failed read, or a panic in it,
// takes effect after the records before it.
//
// When the worker is stopped or ends with an error, the buffered records are dropped
// unacked. If it ends with an error while a read is pending, Do tears the source down,
// with a context that does not end, and waits for the read to return.
//
// A first task other than a [SourceTask] may mark records. A read with marked records
// is not merged with others. The task cannot retry records: [Batch.Retry] stops the
// worker with an error. Records that it settles by [Worker.Ack] or [Worker.Nack] are
// settled at once, ahead of records that were read earlier and are still buffered.
func WithReadAhead(records int) WorkerOption {
	return workerOption(func(o *options) error {
		if records < 1 {
			return fmt.Errorf("cannot read ahead %d records: at least 1 is needed", records)
		}
		o.readAhead = records
		return nil
	})
}

// prefetcher reads the source ahead of the worker, on a goroutine of its own, until
// there is nothing more to read or the worker ends. It buffers what it reads as
// arrivals.
type prefetcher struct {
	worker *Worker
	cancel context.CancelFunc // ends the context of the reads

	ready chan struct{} // gets a value when there may be something to take
	room  chan struct{} // gets a value when there may be room for another read
	idle  chan struct{} // gets a value when nothing is left to drain
	done  chan struct{} // closed when the goroutine has ended

	mu            sync.Mutex
	arrivals      []arrival
	waiting       int              // records in arrivals
	taken         []opencdc.Record // the buffer of the batch in flight, if it was merged
	memory        reuse.Buffer[opencdc.Record]
	reads         int    // reads that have returned
	records       uint64 // that they have returned
	state         prefetchState
	isDraining    bool        // no read may begin
	wantsReason   bool        // but one must, to say why the source's stream has closed
	err           error       // the error of the last read
	panicked      *PanicError // the panic of the last read
	mayBeTornDown bool        // tearing the source down may have begun before the last read ended
}

// prefetchState is what a prefetcher is doing.
type prefetchState int

const (
	prefetchWaiting prefetchState = iota // waiting for room
	prefetchReading
	prefetchEnded // no more reads: the source has ended or is torn down, or the last read failed
	prefetchQuit  // no more reads: the worker is ending
)

// arrival is a batch to come: the records of one or more reads.
type arrival struct {
	records   []opencdc.Record
	positions []opencdc.Position
	readAt    []time.Time // if the timer is enabled
	isMerged  bool        // records is a buffer of the prefetcher

	// marked is the batch of a read whose records the first task has marked, edited or
	// settled. The other fields are then unset.
	marked *Batch
}

// runAhead runs the worker while a prefetcher reads ahead. It returns after the
// prefetcher has ended.
func (w *Worker) runAhead(ctx context.Context) (err error) {
	p := w.prefetcher
	readCtx, cancel := context.WithCancel(ctx)
	p.cancel = cancel
	go p.run(readCtx)
	isOver := false
	defer func() { // also after a panic or Goexit
		isStopped := isOver && err == nil
		var failed outcome
		failed.add(err, nil)
		failed.try(func() error { return p.stop(ctx, isStopped) })
		failed.add(nil, p.panicked)
		if e := p.unreported(ctx, isStopped); e != nil && (err == nil || !isAny(err, e)) {
			failed.add(e, nil)
		}
		if !isOver && !failed.isFailure() {
			return // the panic or Goexit continues
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

func newPrefetcher(w *Worker) *prefetcher {
	return &prefetcher{
		worker: w,
		ready:  make(chan struct{}, 1),
		room:   make(chan struct{}, 1),
		done:   make(chan struct{}),
		idle:   make(chan struct{}, 1),
	}
}

// counts returns how many records were read, and how many of them wait.
func (p *prefetcher) counts() (read uint64, waiting int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.records, p.waiting
}

// run reads until there is nothing more to read, and records how that ended.
func (p *prefetcher) run(ctx context.Context) {
	guard(func() error {
		p.readOn(ctx)
		return nil
	}, func(err error, panicked *PanicError) {
		if err != nil {
			err = p.worker.taskError(p.worker.FirstTask, err)
		}
		if err != nil || panicked != nil {
			p.end(err, panicked)
		}
		close(p.done)
	})
}

// readOn reads until there is nothing more to read.
func (p *prefetcher) readOn(ctx context.Context) {
	b, source := &Batch{}, &batch.SourceBatch{}
	for p.begin(ctx) {
		*b = Batch{}
		source.Reset()
		b.copies.Attach(source, nil, p.worker.pieceIDKey)
		isDue, err := p.worker.pauseReads(ctx)
		if err == nil && (!isDue || !p.mayRead()) {
			continue
		}
		isLast := false
		if err == nil {
			isLast, err = p.worker.readInto(ctx, b)
		}
		if err == nil {
			err = p.check(b)
		}
		if err != nil {
			p.end(err, nil)
			return
		}
		if p.add(b) {
			b, source = &Batch{}, &batch.SourceBatch{}
		}
		if isLast {
			p.end(nil, nil)
		}
	}
}

// begin waits until there is room for another read. It returns false if there is
// nothing more to read.
func (p *prefetcher) begin(ctx context.Context) bool {
	for {
		switch p.tryBegin(ctx) {
		case prefetchReading:
			return true
		case prefetchWaiting:
			<-p.room
		default:
			signal(p.ready)
			return false
		}
	}
}

// tryBegin returns what the prefetcher does next.
func (p *prefetcher) tryBegin(ctx context.Context) prefetchState {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.state == prefetchQuit || p.state == prefetchEnded:
	case p.worker.Stopping():
		p.state = prefetchEnded
	case ctx.Err() != nil:
		return prefetchQuit // without recording it: take checks the context itself
	case p.waiting < p.worker.readAhead && !p.isHeld():
		p.state = prefetchReading
	}
	return p.state
}

// check returns an error if the records of a read cannot become a batch.
func (p *prefetcher) check(b *Batch) error {
	err := b.checkPositions()
	if _, retried := b.copies.Marks(); err == nil && retried > 0 && !b.copies.IsSettled() {
		err = FatalError(errors.New("the first task wants records again, which is not possible if they are read ahead"))
	}
	if err != nil {
		return p.worker.taskError(p.worker.FirstTask, err)
	}
	return nil
}

// add adds the records of a read to the arrivals. It returns true if it keeps the
// batch.
func (p *prefetcher) add(b *Batch) (isKept bool) {
	source := b.copies.Source()
	n := len(source.Positions)
	var readAt []time.Time
	if n > 0 && p.worker.timerEnabled.now() {
		readAt = slices.Repeat([]time.Time{time.Now()}, n)
	}
	defer signal(p.ready)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == prefetchReading {
		p.state = prefetchWaiting
	}
	p.reads++
	if n == 0 {
		return false
	}
	p.waiting += n
	p.records += uint64(n)
	if !b.copies.IsAsRead() {
		source.ReadAt = readAt
		p.arrivals = append(p.arrivals, arrival{marked: b})
		return true
	}
	next := arrival{records: b.copies.Records(), positions: source.Positions, readAt: readAt}
	if len(p.arrivals) > 0 && p.arrivals[len(p.arrivals)-1].marked == nil {
		p.merge(&p.arrivals[len(p.arrivals)-1], next)
	} else {
		p.arrivals = append(p.arrivals, next)
	}
	return false
}

// merge appends what has just arrived to the last arrival.
func (p *prefetcher) merge(last *arrival, next arrival) {
	if !last.isMerged {
		last.records = append(p.memory.Take(0), last.records...)
		last.isMerged = true
	}
	last.records = append(last.records, next.records...)
	last.positions = append(last.positions, next.positions...)
	last.readAt = append(last.readAt, next.readAt...)
}

// end records that there is nothing more to read, and why.
func (p *prefetcher) end(err error, panicked *PanicError) {
	p.mu.Lock()
	p.state = prefetchEnded
	p.err, p.panicked, p.mayBeTornDown = err, panicked, p.worker.Stopping()
	p.mu.Unlock()
	signal(p.ready)
}

// take waits for an arrival and puts the first one into b, which is empty, or returns
// another batch that holds it. It returns true, and the error of the last read, if
// there will be no more. The batch taken before must be done.
func (p *prefetcher) take(ctx context.Context, b *Batch) (taken *Batch, isLast bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.memory.Put(p.taken)
	p.taken = nil
	for len(p.arrivals) == 0 && p.state != prefetchEnded {
		if p.isDraining {
			signal(p.idle)
		}
		if err := p.wait(ctx); err != nil {
			return nil, false, err
		}
	}
	if len(p.arrivals) == 0 {
		return b, true, p.err
	}
	next := p.pop()
	if next.marked != nil {
		return next.marked, false, nil
	}
	if next.isMerged {
		p.taken = next.records
	}
	b.copies.Fill(next.records, next.positions)
	if len(next.readAt) == len(next.records) {
		b.copies.Source().ReadAt = next.readAt // otherwise the timer was disabled for some of the reads
	}
	return b, false, nil
}

// pop removes and returns the first arrival.
func (p *prefetcher) pop() arrival {
	first := p.arrivals[0]
	if len(p.arrivals) == 1 {
		p.arrivals = slices.Delete(p.arrivals, 0, 1) // keeps the array
	} else {
		p.arrivals[0] = arrival{}
		p.arrivals = p.arrivals[1:]
	}
	if first.marked != nil {
		p.waiting -= len(first.marked.copies.Source().Positions)
	} else {
		p.waiting -= len(first.records)
	}
	signal(p.room)
	return first
}

// dropUntilError drops arrivals until a read fails, or until a read that began after
// the call returns. A read that is pending began before the call, so unless it fails,
// the one after it counts. dropUntilError returns the error of the read.
func (p *prefetcher) dropUntilError(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := p.reads + 1
	p.wantsReason = true
	if p.state == prefetchReading {
		last++
	}
	for p.state != prefetchEnded && p.reads < last {
		p.arrivals, p.waiting = nil, 0
		signal(p.room)
		if err := p.wait(ctx); err != nil {
			return err
		}
	}
	return p.err
}

// wait waits until something may have changed. The caller holds the lock.
func (p *prefetcher) wait(ctx context.Context) error {
	p.mu.Unlock()
	defer p.mu.Lock()
	select {
	case <-p.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop waits for the goroutine to end. If the worker was not stopped, stop ends a
// pending read, since nothing else might.
func (p *prefetcher) stop(ctx context.Context, isStopped bool) error {
	p.mu.Lock()
	isReading := p.state == prefetchReading
	p.state = prefetchQuit
	p.mu.Unlock()
	signal(p.room)
	defer func() {
		<-p.done
		p.cancel()
		p.drop()
	}()
	if !isReading || isStopped {
		return nil
	}
	return p.endRead(context.WithoutCancel(ctx))
}

// drop drops what still waits.
func (p *prefetcher) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.arrivals, p.waiting = nil, 0
}

// endRead tears the source down, unless Stop or Close does, and then ends the context
// of the read.
func (p *prefetcher) endRead(ctx context.Context) error {
	defer p.cancel()
	w := p.worker
	if isLocked, err := w.lockLifecycle(ctx, w.gate.Closed()); !isLocked {
		return err
	}
	defer w.unlockLifecycle()
	if w.Stopping() {
		return nil
	}
	if err := w.gate.Close(ctx); err != nil { // does not wait: no batch is in flight
		return err
	}
	return w.source.closeIfOpen(ctx)
}

// unreported returns the error of the last read if Do must report it. A failed read is
// no error once the source is being torn down, or if it only says that the context has
// ended. A Goexit always is one.
func (p *prefetcher) unreported(ctx context.Context, isStopped bool) error {
	isDue := !isStopped && !p.mayBeTornDown && (ctx.Err() == nil || !isOnly(p.err, ctx.Err(), context.Cause(ctx)))
	if p.err != nil && (isDue || isAny(p.err, ErrGoexit)) {
		return p.err
	}
	return nil
}

// signal puts a value into a channel of capacity one, unless it holds one already.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
