// Package position keeps the positions from which sources resume, so that a pipeline goes on
// where it was after its process or its machine has crashed.
//
// [Track] makes a source durable that can begin at a position:
//
//	store, err := position.NewFiles("/var/lib/orders")
//	...
//	source := position.Track("orders", store, func(p opencdc.Position) (funnel.Source, error) {
//		return orders.After(p) // p is nil the first time
//	})
//	err = funnel.From("orders", source).To("table", table).Run(ctx)
//
// # What a crash repeats
//
// The engine acks a record when it is delivered, and Track then saves its position before it
// acks the inner source. So a crash comes before the save or after it. Before, the record is
// delivered and its position is not saved: it is read again, and delivered twice. After, it
// is not read again. No order of the two avoids both repeating and losing, so the order here
// is the one that repeats. With a save for each Ack, what is repeated is at most the batch in
// flight; [WithCoalescing] trades more of it for fewer saves. Whatever is behind the inner
// source, such as a queue that forgets what is acked, hears of a position only once it is
// saved.
//
// # Stores
//
// A [Store] keeps positions under the IDs of their sources. A [Claim] is the right to use one
// of them, so that two pipelines cannot overwrite each other's. [Files] keeps each in a file
// of its own, made for one fast durable save after the other. Package bolt, a module of its
// own, keeps many in one database. [Memory] forgets them with the process.
//
// [ErrClaimed] says that another pipeline has the source, [ErrFenced] that another one has
// taken it over, and [ErrDamaged] that what is stored cannot be used.
package position
