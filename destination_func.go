package funnel

import (
	"context"
	"errors"
	"fmt"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector"
)

// DestinationFunc returns a destination that calls write for each Write. It is for
// destinations that know when write returns which records are stored.
//
// The result of write decides what becomes of its records:
//   - nil confirms all of them.
//   - A [RecordErrors] refuses the records whose entries are not nil, and confirms the
//     others; without any entries, it confirms all. If the number of entries is wrong, the
//     Write fails. A RecordErrors that refuses a record may be wrapped, as by [fmt.Errorf]
//     with one %w; what the wrapper says is ignored.
//   - Any other error fails the Write, which stops the worker. No record is acked. An error
//     that is joined with a RecordErrors is such an error.
//
// write keeps the contract of Write in [Destination]: it must not modify the slice or the
// data in the records; it may keep the records, but not the slice. One goroutine at a time
// calls write.
//
// Open and Teardown do nothing. ID returns "", and Errors a nil channel. If write is nil,
// [NewWorker], Open and Write return an error.
//
// A record costs a few nanoseconds for its ack, and no allocation once the destination
// has seen the largest batch.
func DestinationFunc(write func(context.Context, []opencdc.Record) error) Destination {
	return &destinationFunc{write: write}
}

// RecordErrors says which records of a write were refused, and why. It has an entry for
// each record, at the same index: nil if the record was written. The function of a
// [DestinationFunc] returns it.
type RecordErrors []error

// Error says how many records were refused, and why the first of them was.
func (e RecordErrors) Error() string {
	refused := e.Unwrap()
	for i, err := range e {
		if err != nil {
			return fmt.Sprintf("%d of %d records were refused, first record %d: %v", len(refused), len(e), i, err)
		}
	}
	return fmt.Sprintf("0 of %d records were refused", len(e))
}

// Unwrap returns the entries that are not nil.
func (e RecordErrors) Unwrap() []error {
	var refused []error
	for _, err := range e {
		if err != nil {
			refused = append(refused, err)
		}
	}
	return refused
}

// recordErrorsOf returns the RecordErrors that err is or wraps, and whether err is nothing
// else. It does not look into errors that wrap several.
func recordErrorsOf(err error) (found RecordErrors, isAlone bool) {
	defer func() { _ = recover() }() // a method of err may panic
	isAlone = true
	for err != nil {
		if e, ok := err.(RecordErrors); ok {
			return e, isAlone
		}
		err, isAlone = errors.Unwrap(err), false
	}
	return nil, false
}

// mismatch returns the error if e does not have n entries. It does not wrap e: a caller
// could take e for the errors of its own records.
func (e RecordErrors) mismatch(n int) error {
	err := fmt.Errorf("the RecordErrors have %d entries for %d records", len(e), n)
	if refused := e.Unwrap(); len(refused) > 0 {
		err = fmt.Errorf("%w, the first error is: %w", err, refused[0])
	}
	return err
}

type destinationFunc struct {
	anonymous
	write func(context.Context, []opencdc.Record) error
	acks  writeAcks
}

func (d *destinationFunc) validate() error {
	if d.write == nil {
		return errors.New("the write function of the destination is nil")
	}
	return nil
}

func (d *destinationFunc) Open(context.Context) error {
	d.acks.reset()
	return d.validate()
}

func (d *destinationFunc) Write(ctx context.Context, records []opencdc.Record) error {
	d.acks.reset()
	if err := d.validate(); err != nil {
		return err
	}
	err := d.write(ctx, records)
	refused, isAlone := recordErrorsOf(err)
	switch isEmpty := len(refused.Unwrap()) == 0; {
	case err != nil && isEmpty && !isAlone:
		return err
	case len(refused) > 0 && len(refused) != len(records):
		return refused.mismatch(len(records))
	case isEmpty:
		d.acks.add(records, nil)
	default:
		d.acks.add(records, refused)
	}
	return nil
}

func (d *destinationFunc) Ack(context.Context) ([]connector.DestinationAck, error) {
	return d.acks.take(), nil
}

func (d *destinationFunc) Teardown(context.Context) error { return nil }
