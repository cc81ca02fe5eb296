package funnel

// WorkerOption configures a worker, see [WithReadAhead], [WithWholeBatches] and
// [WithRetryPolicy]. Only this package can make options.
type WorkerOption interface {
	apply(o *options) error
}

// workerOption is an option that sets options.
type workerOption func(o *options) error

func (set workerOption) apply(o *options) error { return set(o) }

// options are what the options of a worker have set.
type options struct {
	readAhead    int  // in records, 0 for none
	wholeBatches bool // nacks do not divide batches
	retry        RetryPolicy
}
