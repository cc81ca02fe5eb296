package funnel

import (
	"context"
	"errors"
	"slices"

	"github.com/conduitio/conduit-commons/opencdc"
)

// Observer receives the events of a worker, for the host's traces, metrics and logs. It
// gets a call for each event of a batch, never for each record. An implementation that
// embeds [NopObserver] needs only the methods it uses, and still compiles when methods
// are added.
//
// Each method is called on the goroutine on which the event happens. It may be that of a
// branch, so the methods must be safe for concurrent use. They delay the batch. A panic
// in a method is a panic of [Worker.Do]. They may call any method of the worker that does
// not wait for the batch.
//
// A method that returns a context must return the context that it was given or one
// derived from it; nil means the given one. Source.Ack, the dead-letter queue, and the
// events that report on them get contexts that are not derived from a returned one.
type Observer interface {
	// BatchRead is called when a batch is about to be processed. It returns the context
	// for its tasks and for the events until BatchDone.
	BatchRead(context.Context, BatchRead) context.Context
	// TaskBegin is called before a task gets a batch. It returns the context for that
	// call and for its TaskDone. The first task is not observed.
	TaskBegin(context.Context, TaskBegin) context.Context
	// TaskDone is called after the task has returned, but not if it panics or ends its
	// goroutine.
	TaskDone(context.Context, TaskDone)
	// BatchDivided is called after a batch was divided into parts, which continue one
	// after the other.
	BatchDivided(context.Context, BatchDivided)
	// DeadLettersWritten is called after each write to the dead-letter queue.
	DeadLettersWritten(context.Context, DeadLettersWritten)
	// RecordsAcked is called after each successful call of Source.Ack.
	RecordsAcked(context.Context, RecordsAcked)
	// BatchDone is called at the end of each batch for which BatchRead was called, but
	// not if the batch ends by a panic or by [runtime.Goexit].
	BatchDone(context.Context, BatchDone)
}

// RecordsObserver is an [Observer] that also sees the records of a batch, for example to
// find the traces that they belong to.
type RecordsObserver interface {
	Observer
	// RecordsRead is called in place of BatchRead, with the active records of the batch.
	// It must not change the records or the slice, and must not keep them.
	RecordsRead(context.Context, BatchRead, []opencdc.Record) context.Context
}

// AbortObserver is an [Observer] that also hears of batches that a panic ends, for example
// to end what it has begun for them.
type AbortObserver interface {
	Observer
	// BatchAborted is called if a panic or [runtime.Goexit] ends a batch for which
	// BatchRead has returned, with the context of BatchDone. The panic may be one of
	// BatchDone. All tasks have ended, also those on branches; some without a TaskDone.
	BatchAborted(context.Context)
}

// BatchRead says that a batch is about to be processed.
type BatchRead struct {
	Records int // source records
}

// TaskBegin says that a task gets a batch or a part of one.
type TaskBegin struct {
	TaskID  string
	Records int       // active records
	Node    *TaskNode // the place of the task in the pipeline, which must not be changed
	Waiting int       // parts of the batch that continue after this one, on the same branch
}

// TaskDone says what a task has done with a batch or a part of one. If the task has
// settled it by [Worker.Ack] or [Worker.Nack], nothing goes on: Out is 0, and what was
// settled is in no other number.
type TaskDone struct {
	TaskID   string
	In       int   // active records before the call
	Out      int   // active records that go on: In + Added - Filtered - Nacked - Retried
	Added    int   // pieces beyond the first of each split
	Filtered int   // filtered records
	Nacked   int   // nacked records, with the sibling pieces that are nacked with them
	Retried  int   // records that the task gets again
	Err      error // the error of the task; Out and the numbers below it are then 0
}

// BatchDivided says that a batch was divided behind a task.
type BatchDivided struct {
	TaskID string
	Parts  int
}

// DeadLettersWritten says how a write to the dead-letter queue ended.
type DeadLettersWritten struct {
	Records   int   // dead letters in the write
	Confirmed int   // dead letters that the queue has confirmed
	Err       error // why not all are confirmed
	Outside   bool  // by [Worker.Ack] or [Worker.Nack], with the context of that call
}

// RecordsAcked says that the source has acked records.
type RecordsAcked struct {
	Records int
	Outside bool // by [Worker.Ack] or [Worker.Nack], with the context of that call
}

// BatchDone says how a batch ended. Read, Acked and DeadLettered count source records,
// the others copies, as in [Stats]. What [Worker.Ack] and [Worker.Nack] have done is not
// in it.
type BatchDone struct {
	Read, Acked, DeadLettered int
	Filtered, Nacked, Retried int
	Err                       error // the error with which the worker stops
}

// NopObserver is an [Observer] that does nothing.
type NopObserver struct{}

var _ Observer = NopObserver{}

// BatchRead returns its context.
func (NopObserver) BatchRead(ctx context.Context, _ BatchRead) context.Context { return ctx }

// TaskBegin returns its context.
func (NopObserver) TaskBegin(ctx context.Context, _ TaskBegin) context.Context { return ctx }

// TaskDone does nothing.
func (NopObserver) TaskDone(context.Context, TaskDone) {}

// BatchDivided does nothing.
func (NopObserver) BatchDivided(context.Context, BatchDivided) {}

// DeadLettersWritten does nothing.
func (NopObserver) DeadLettersWritten(context.Context, DeadLettersWritten) {}

// RecordsAcked does nothing.
func (NopObserver) RecordsAcked(context.Context, RecordsAcked) {}

// BatchDone does nothing.
func (NopObserver) BatchDone(context.Context, BatchDone) {}

// WithObserver reports what the worker does to an observer. Besides the observer's own
// work, an event costs up to 100 ns, and each batch that goes to branches costs a new
// context for them. [NewWorker] returns an error if the observer is nil.
//
// The option can be given several times. The observers then get each event one after the
// other, in the order of the options; TaskDone and BatchDone go in reverse order. Each gets
// the context that the one before it has returned.
//
// An observer can also be a [RecordsObserver] or an [AbortObserver]. An observer that wraps
// one of them must have their methods itself.
func WithObserver(observer Observer) WorkerOption {
	return workerOption(func(o *options) error {
		switch {
		case isNil(observer):
			return errors.New("the observer is nil")
		case o.observer != nil:
			observer = observerPair{o.observer, observer}
		}
		o.observer = observer
		return nil
	})
}

// observerPair reports to two observers.
type observerPair struct{ first, second Observer }

func (p observerPair) BatchRead(ctx context.Context, e BatchRead) context.Context {
	ctx = derived(ctx, p.first.BatchRead(ctx, e))
	return derived(ctx, p.second.BatchRead(ctx, e))
}

func (p observerPair) TaskBegin(ctx context.Context, e TaskBegin) context.Context {
	ctx = derived(ctx, p.first.TaskBegin(ctx, e))
	return derived(ctx, p.second.TaskBegin(ctx, e))
}

func (p observerPair) TaskDone(ctx context.Context, e TaskDone) {
	p.second.TaskDone(ctx, e)
	p.first.TaskDone(ctx, e)
}

func (p observerPair) BatchDivided(ctx context.Context, e BatchDivided) {
	p.first.BatchDivided(ctx, e)
	p.second.BatchDivided(ctx, e)
}

func (p observerPair) DeadLettersWritten(ctx context.Context, e DeadLettersWritten) {
	p.first.DeadLettersWritten(ctx, e)
	p.second.DeadLettersWritten(ctx, e)
}

func (p observerPair) RecordsAcked(ctx context.Context, e RecordsAcked) {
	p.first.RecordsAcked(ctx, e)
	p.second.RecordsAcked(ctx, e)
}

func (p observerPair) BatchDone(ctx context.Context, e BatchDone) {
	p.second.BatchDone(ctx, e)
	p.first.BatchDone(ctx, e)
}

// batchRead reports that a batch was read, with its records if the observer wants them.
func batchRead(ctx context.Context, o Observer, e BatchRead, b *Batch) context.Context {
	switch o := o.(type) {
	case observerPair:
		return batchRead(batchRead(ctx, o.first, e, b), o.second, e, b)
	case RecordsObserver:
		return derived(ctx, o.RecordsRead(ctx, e, slices.Clip(b.ActiveRecords())))
	default:
		return derived(ctx, o.BatchRead(ctx, e))
	}
}

// batchAborted reports that a batch was aborted, in reverse order.
func batchAborted(ctx context.Context, o Observer) {
	switch o := o.(type) {
	case observerPair:
		batchAborted(ctx, o.second)
		batchAborted(ctx, o.first)
	case AbortObserver:
		o.BatchAborted(ctx)
	}
}

// derived returns the context that a method of an observer has returned, or ctx if it is
// nil.
func derived(ctx, returned context.Context) context.Context {
	if returned == nil {
		return ctx
	}
	return returned
}
