package funnel

import (
	"context"
	"errors"

	"github.com/conduitio/conduit-commons/opencdc"
)

// Observer receives the events of a worker, for the host's traces, metrics and logs. Its
// methods are called for each event of a batch, never for each record. An implementation that
// embeds [NopObserver] needs only the methods it uses, and still compiles when methods
// are added.
//
// Each method is called on the goroutine of the event, which may be a branch. So the methods
// must be safe for concurrent use. They delay the batch. A panic in a method is a panic of
// [Worker.Do]. The methods may call any method of the worker that does not wait for the batch.
//
// A method that returns a context must return the context that it was given, or a context
// derived from it; nil means the given one. The contexts of Source.Ack, of the dead-letter
// queue, and of the events about these are not derived from a returned context.
type Observer interface {
	// BatchRead is called when a batch is about to be processed. It returns the context
	// for the tasks of the batch and for its events, up to BatchDone.
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

// AbortObserver is an [Observer] that is also told when a panic ends a batch, for example
// to end a span.
type AbortObserver interface {
	Observer
	// BatchAborted is called if a panic or [runtime.Goexit] ends a batch for which
	// BatchRead has returned and BatchDone has not, even if BatchDone itself panics. It gets
	// the context that BatchDone gets. All tasks have ended, also on branches, some of them
	// without a TaskDone.
	BatchAborted(context.Context)
}

// BatchRead says that a batch is about to be processed.
type BatchRead struct {
	Records int // source records
}

// TaskBegin says that a task gets a batch or a part of one.
type TaskBegin struct {
	TaskID  string
	Records int // active records
	// Call is the number of this call, from 1 for each batch. On branches, calls get their
	// numbers in any order.
	Call int
	// DividedBy is the number of the call after which these records were last divided from
	// others of the batch, on their way through the pipeline. It is 0 if they were never
	// divided, or last after the first task. Branches do not divide a batch.
	DividedBy int
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

// BatchDivided says that a batch was divided after a call of a task.
type BatchDivided struct {
	TaskID string
	Call   int // the number of the call, or 0 for the first task
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

// BatchDone says how a batch ended. Read, Acked and DeadLettered count source records, the
// others count copies, as in [Stats]. Calls of [Worker.Ack] and [Worker.Nack] are not counted.
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

// WithObserver reports the events of the worker to an observer. Besides the observer's own
// work, an event costs up to 100 ns, and a batch that goes to branches costs one more
// context. [NewWorker] returns an error if the observer is nil.
//
// The option can be given several times. The observers then get each event one after the
// other, in the order of the options; TaskDone, BatchDone and BatchAborted go in reverse
// order. In BatchRead and TaskBegin, each observer gets the context that the observer before
// it has returned. If an observer panics, the others are not told of that event, but each
// [AbortObserver] among them still gets one end of the batch.
//
// An observer can also be a [RecordsObserver] or an [AbortObserver]. An observer that wraps
// such an observer must have its methods, too.
func WithObserver(observer Observer) WorkerOption {
	return workerOption(func(o *options) error {
		if isNil(observer) {
			return errors.New("the observer is nil")
		}
		o.observers = append(o.observers, observer)
		return nil
	})
}
