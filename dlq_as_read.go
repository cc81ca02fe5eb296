package funnel

// WithDeadLettersAsRead makes each dead letter hold the source record as it was read,
// whatever processors have made of it since, even if only a piece of it was nacked. Such a
// letter can be replayed from the start of the pipeline, see [NewReplaySource]: no task gets
// its own result again. Without this option, a letter holds the record as the task that
// nacked it was given it, or as it was before its split (see [DLQ]).
//
// With this option, the position of each dead letter is that of the source record. What the
// first task returns counts as read: if a task of your own takes the place of a [SourceTask]
// and changes records, the letters hold the records with its changes.
//
// What is given up: each record is kept until its batch is done. Since processors may
// change records in place, each record is copied before the first task that may change it:
// a few microseconds for a row of ten columns, linear in the size of the record. In front of
// a fan-out, that is one copy for each branch that may change records. If no task may change
// records, nothing but the opencdc.Record structs is copied. A record that is nested too
// deeply to be copied stops the worker with [ErrTooDeep]. Without a dead-letter queue the
// option does nothing.
func WithDeadLettersAsRead() WorkerOption {
	return workerOption(func(o *options) error {
		o.keepRead = true
		return nil
	})
}
