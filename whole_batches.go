package funnel

// WithWholeBatches keeps a batch whole when some of its records are nacked. The nacked
// records and their sibling pieces leave the batch, as filtered records do, and the
// others go on together. At the end of the batch, a single write to the queue holds all
// its dead letters in read order, whatever their tasks and errors. Then the source gets
// one ack for everything that is done. So a few nacks do not turn one large write into
// many small ones.
//
// What is given up: without the option, records before a nack are acked before the
// records behind it are processed. With it:
//   - If the window of the queue refuses a nack, records behind it may have been
//     delivered already. They are not acked, so they are delivered again.
//   - If the queue confirms only some of the dead letters, a restart writes those behind
//     the first missing one again, even if the queue has confirmed them.
//   - A batch that needs retries is still divided. Nothing of it is acked before all of
//     it is done.
//
// A nacked record is acked only after the queue has confirmed its dead letter. If the
// worker stops with an error, the records at the front of the batch that are done are
// still acked.
func WithWholeBatches() WorkerOption {
	return workerOption(func(o *options) error {
		o.wholeBatches = true
		return nil
	})
}
