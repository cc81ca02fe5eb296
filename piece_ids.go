package funnel

// MetadataPieceID is the key in the metadata of a piece under which [WithPieceIDs] writes
// the ID of the piece.
const MetadataPieceID = "funnel.piece"

// WithPieceIDs gives each piece of a split record an ID, in its metadata under
// [MetadataPieceID]. The ID is the path of the piece through the splits. The pieces of a
// source record are "0", "1" and so on, in order. If "2" is split in turn, its pieces are
// "2.0", "2.1" and so on. Replacing a piece by a single record is not a split: the ID
// stays the same.
//
// A piece has the same ID in every run in which the tasks split its source record in the
// same way, however records are batched, retried, filtered or sent to branches. So a
// destination can recognize a piece that it gets again, by the ID together with whatever
// identifies the source record, such as its key. On one branch, no two pieces of a source
// record have the same ID. Pieces that are made on different branches may have the same
// one.
//
// A piece has its ID from the split on. If a task other than a [DestinationTask] drops or
// changes the ID, it is restored before the next task gets the piece. On a retry, a task
// gets the record as the task has left it. The metadata of a record that was not split
// stay as they are, even if they have that key. A dead letter holds the record from
// before the split, so it never has the ID of a piece.
//
// What is given up: the key belongs to the engine. In a piece, the ID replaces any value
// that the record had under the key. Every later task sees the ID, and no task can remove
// it. Writing an ID costs a copy of the piece's metadata map, mostly two allocations and
// a few hundred nanoseconds. Each later task costs one access to the map. A batch in
// which nothing is split costs nothing.
func WithPieceIDs() WorkerOption {
	return workerOption(func(o *options) error {
		o.pieceIDKey = MetadataPieceID
		return nil
	})
}
