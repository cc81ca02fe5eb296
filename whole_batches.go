package funnel

// WithWholeBatches keeps a batch whole when records of it are nacked. The nacked records,
// with their sibling pieces, leave the batch as filtered ones do, and the others go on
// together. At the end of the batch all its dead letters are written to the queue at
// once, in read order, whatever their tasks and errors; then the source gets one ack for
// everything that is done. So a few nacks do not turn one large write into many small
// ones.
//
// Given up for it is that the records before a nack are acked before those behind it are
// worked on:
//   - If the window of the queue refuses a nack, records behind it may have been
//     delivered already. They are not acked, so they are delivered again.
//   - If the queue confirms only some of the dead letters, those that it has confirmed
//     behind the first missing one are written again after a restart.
//   - A batch that needs retries is still divided. Nothing of it is acked before all of
//     it is done.
//
// A record is acked only after the queue has confirmed its dead letter. If the worker
// stops with an error, the records at the front of the batch that are done are still
// acked.
func WithWholeBatches() WorkerOption {
	return workerOption(func(o *options) error {
		o.wholeBatches = true
		return nil
	})
}
