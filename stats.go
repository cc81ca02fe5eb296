package funnel

import "time"

// Stats are what a worker has done so far, and what it is doing. The totals count from
// the beginning of [Worker.Do] and include what [Worker.Ack] and [Worker.Nack] have
// done.
type Stats struct {
	// Read, Acked and DeadLettered count source records. Acked ones were passed to
	// Source.Ack, dead-lettered ones among them.
	Read, Acked, DeadLettered uint64
	// Filtered and Nacked count copies: pieces of split records, on each branch. What is
	// nacked on a best-effort branch counts, too.
	Filtered, Nacked uint64
	// Retried counts how often a record was given to a task again because the task had
	// not answered for it.
	Retried uint64
	// Batches counts the batches that have ended, by an error or not.
	Batches uint64
	// SkippedBranches is the number of best-effort branches that this worker has given
	// up.
	SkippedBranches int

	// InFlight is the number of source records in the batch in flight, Waiting that of
	// records that were read ahead and wait.
	InFlight, Waiting int
	// LastAck is when records were last acked, or zero.
	LastAck time.Time

	// Tasks are the tasks that have the batch in flight: several if it is on several
	// branches. It is empty without [WithStats].
	Tasks []TaskStats
}

// TaskStats says what a task is doing with the batch in flight.
type TaskStats struct {
	// ID is the ID of the task. While records are acked in the source it is that of the
	// first task, while dead letters are written that of the queue, and while the worker
	// waits for a [Sink] that of the task before it.
	ID string
	// Activity is what is being done.
	Activity Activity
	// Since is when that has begun.
	Since time.Time
}

// Activity is what is being done with a batch in flight.
type Activity string

// The activities.
const (
	ActivityTask Activity = "at work"            // the task is working on it
	ActivityAck  Activity = "acking records"     // the source is acking records
	ActivityDLQ  Activity = "writing letters"    // the queue is writing dead letters
	ActivitySink Activity = "waiting for a sink" // the worker waits for its turn
)

// WithStats adds the tasks that have the batch in flight, and since when, to
// [Worker.Stats] and to the errors with which [Worker.Stop] and [Worker.Close] give up.
// It costs a look at the clock for each batch that a task gets.
func WithStats() WorkerOption {
	return workerOption(func(o *options) error {
		o.stats = true
		return nil
	})
}
