package funnel

import (
	"context"
	"errors"
	"fmt"
	"sync"

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
	over  chan struct{} // closed when the worker takes no more
	done  chan struct{} // closed when the goroutine has ended

	mu            sync.Mutex
	arrivals      []arrival
	waiting       int              // records in arrivals
	taken         []opencdc.Record // the buffer of the batch in flight, if it was merged
	memory        reuse.Buffer[opencdc.Record]
	reads         int    // reads that have returned
	records       uint64 // records that they have returned
	state         prefetchState
	isDraining    bool        // no read may begin
	wantsReason   bool        // but one read must begin, to tell why the source's stream has closed
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

// runAhead runs the worker while a prefetcher reads ahead. It returns after the
// prefetcher has ended.
func (w *Worker) runAhead(ctx context.Context) (err error) {
	p := w.prefetcher
	readCtx, cancel := context.WithCancel(ctx)
	p.cancel = cancel
	go p.run(readCtx)
	isOver := false
	defer func() { // also after a panic or Goexit
		close(p.over)
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
		over:   make(chan struct{}),
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

// end records that there is nothing more to read, and why.
func (p *prefetcher) end(err error, panicked *PanicError) {
	p.mu.Lock()
	p.state = prefetchEnded
	p.err, p.panicked, p.mayBeTornDown = err, panicked, p.worker.Stopping()
	p.mu.Unlock()
	signal(p.ready)
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
