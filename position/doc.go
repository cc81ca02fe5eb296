// Package position stores the positions from which sources resume. After a crash of its
// process or its machine, a pipeline then continues where it stopped.
//
// [Track] makes a source durable, provided that the source can begin at a given position:
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
// The engine acks a record after its delivery. Track then saves the position, and only then
// acks the inner source. If a crash comes between delivery and save, the record is read again
// and delivered twice. After the save, it is not read again. To save before the delivery
// would lose records instead.
//
// With a save for each Ack, a crash repeats at most the batch in flight. [WithCoalescing]
// saves less often and repeats more. A queue behind the inner source may forget a record once
// it is acked, so it learns of a position only after the save.
//
// # Stores
//
// A [Store] keeps positions under the IDs of their sources. A [Claim] is the exclusive right
// to use one of them, so two pipelines cannot overwrite each other's position. [Files] keeps
// each position in a file of its own, with a layout for fast, frequent, durable saves.
// Package bolt, a module of its own, keeps many positions in one database. [Memory] keeps
// them only until the process ends.
//
// [ErrClaimed] says that another pipeline has the position, [ErrFenced] that the claim no
// longer holds, and [ErrDamaged] that the stored position cannot be used.
package position
