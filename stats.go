package funnel

import "time"

// Stats say what a worker has done so far, and what it is doing now. The totals count
// from the beginning of [Worker.Do] and include calls of [Worker.Ack] and [Worker.Nack].
type Stats struct {
	// Read, Acked and DeadLettered count source records. Acked includes the dead-lettered
	// records, since they are passed to Source.Ack, too.
	Read, Acked, DeadLettered uint64
	// Filtered and Nacked count copies: each piece of a split record counts, on each
	// branch. Nacks on a best-effort branch count, too.
	Filtered, Nacked uint64
	// Retried counts how often a task was given a record again, because it had not answered
	// for it.
	Retried uint64
	// Batches counts the batches that have ended, with or without an error.
	Batches uint64
	// SkippedBranches is the number of best-effort branches that this worker has given
	// up.
	SkippedBranches int

	// InFlight is the number of source records in the batch in flight. Waiting is the
	// number of records that were read ahead and wait for their batch.
	InFlight, Waiting int
	// LastAck is the time when the last batch with acked records ended, or when [Worker.Ack]
	// or [Worker.Nack] last acked records, if that was later. It is zero before the first ack.
	LastAck time.Time

	// Window is the window of the worker's dead-letter queue. It is zero if the worker has
	// no queue.
	Window NackWindow

	// Tasks are the tasks that have the batch in flight: several if it is on several
	// branches. After them comes the task that is being opened or closed, if any. Without
	// [WithStats], Tasks is empty.
	Tasks []TaskStats
}

// Add adds the stats of another worker to s. In a pipeline the workers may run at the same time
// or one after the other. Add sums the counts and appends the tasks. It keeps the later of the
// last acks, and the window that is closer to refusing a nack.
func (s *Stats) Add(other Stats) {
	s.Read += other.Read
	s.Acked += other.Acked
	s.DeadLettered += other.DeadLettered
	s.Filtered += other.Filtered
	s.Nacked += other.Nacked
	s.Retried += other.Retried
	s.Batches += other.Batches
	s.SkippedBranches += other.SkippedBranches
	s.InFlight += other.InFlight
	s.Waiting += other.Waiting
	if other.LastAck.After(s.LastAck) {
		s.LastAck = other.LastAck
	}
	if other.Window.fullness() > s.Window.fullness() {
		s.Window = other.Window
	}
	s.Tasks = append(s.Tasks[:len(s.Tasks):len(s.Tasks)], other.Tasks...)
}

// NackWindow is the state of the window of a [DLQ]. Unlike the totals, it changes with each
// outcome.
type NackWindow struct {
	// Size is the number of outcomes that the window holds, or 0 if there is no window.
	// Threshold is the number of nacks among them that the window tolerates.
	Size, Threshold int
	// Nacks is the number of nacks among the last Size outcomes, at most Threshold. It is
	// always 0 if Threshold is 0 or at least Size: such a window refuses all nacks or none,
	// so it does not count them.
	Nacks int
	// Refusing is true once the window has refused a nack. It then refuses every nack until
	// the queue is opened again.
	Refusing bool
}

// fullness says how close the window is to refusing a nack: from 0 if it is empty to 1 if it
// is full, 2 once it refuses, and -1 if there is no window.
func (w NackWindow) fullness() float64 {
	switch {
	case w.Size == 0:
		return -1
	case w.Refusing:
		return 2
	case w.Threshold == 0:
		return 1
	default:
		return float64(w.Nacks) / float64(w.Threshold)
	}
}

// TaskStats says what a task is doing with the batch in flight, or that it is being opened
// or closed.
type TaskStats struct {
	// ID is the ID of the task. While the source acks records or is torn down, it is the ID of
	// the first task. While dead letters are written, it is the ID of the queue's task. While
	// the worker waits for a [Sink], it is the ID of the task before the sink.
	ID string
	// Activity says what is being done.
	Activity Activity
	// Since is when the activity began.
	Since time.Time
}

// Activity says what is being done with a batch in flight, or with a task.
type Activity string

// The activities.
const (
	ActivityTask Activity = "working"              // the task is working on it
	ActivityAck  Activity = "acking records"       // the source is acking records
	ActivityDLQ  Activity = "writing dead letters" // the queue is writing dead letters
	ActivitySink Activity = "waiting for a sink"   // the worker waits for its turn

	ActivityOpen  Activity = "opening" // the task or the queue is being opened
	ActivityClose Activity = "closing" // the task, the source or the queue is being closed
)

// WithStats adds the tasks that have the batch in flight, and since when, to
// [Worker.Stats] and to the errors with which [Worker.Stop] and [Worker.Close] give up. To
// Stats it also adds the task that is being opened or closed. It costs one reading of the clock
// each time a task gets a batch.
func WithStats() WorkerOption {
	return workerOption(func(o *options) error {
		o.stats = true
		return nil
	})
}
