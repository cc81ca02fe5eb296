package funnel

import "errors"

// WorkerOption configures a worker. The functions of this package whose names begin with
// With make options; nobody else can.
type WorkerOption interface {
	apply(o *options) error
}

// workerOption is an option that sets options.
type workerOption func(o *options) error

func (set workerOption) apply(o *options) error { return set(o) }

// options hold what the WorkerOptions of a worker have set.
type options struct {
	readAhead    int  // in records, 0 for none
	drain        bool // Stop lets what was read ahead be processed
	wholeBatches bool // nacks do not divide batches
	keepRead     bool // dead letters hold records as they were read
	stats        bool // look at the clock for each task
	retry        RetryPolicy
	pieceIDKey   string      // where pieces carry their IDs in the metadata, or ""
	observers    observers   // or none
	fatalMark    *fatalMark  // or nil
	reportFault  func(error) // for ownership checks, or nil
}

// check returns an error if options do not fit together.
func (o *options) check() error {
	if o.drain && o.readAhead == 0 {
		return errors.New("WithDrain needs WithReadAhead: there is nothing else to drain")
	}
	return nil
}
