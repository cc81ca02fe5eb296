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
// The engine acks a record after its delivery. Track then saves the position, and only after
// that acks the inner source. If the crash comes between delivery and save, the record is
// read again and delivered twice. If it comes later, the record is not read again. A save
// before the delivery would lose records instead.
//
// With a save for each Ack, a crash repeats at most the batch in flight. [WithCoalescing]
// saves less often and repeats more. A queue behind the inner source, which forgets what is
// acked, hears of a position only after the save.
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
