package funnel

// MetadataPieceID is the key in the metadata of a piece under which [WithPieceIDs] writes
// the ID of the piece.
const MetadataPieceID = "funnel.piece"

// WithPieceIDs gives each piece of a split record an ID, in its metadata under
// [MetadataPieceID]: its path through the splits. The pieces of a source record are "0",
// "1" and so on, in order. If "2" is split in turn, its pieces are "2.0", "2.1" and so
// on. A single record that replaces another one is no piece of it, and keeps its ID.
//
// A piece has the same ID in every run in which the tasks split its source record alike,
// however records are batched, retried, filtered or sent down branches. So a destination
// that gets a piece again recognizes it by the ID and by what identifies the source
// record, such as its key. No two pieces of a source record have the same ID on one
// branch. Pieces that are made on different branches may.
//
// A piece has its ID from the split on. If a task, other than a [DestinationTask], drops
// or changes the ID, it is restored before the next task gets the piece. A record that a
// task is given again is as the task has left it. The metadata of a record that was not
// split stay as they are, even if they have that key. So the ID of a piece never shows
// in a dead letter, which holds the record from before the split.
//
// What is given up: the key is the engine's. In a piece it replaces a value that the
// record had before, every later task sees it, and no task can remove it. Each ID that is
// missing costs a copy of the piece's metadata map, mostly two allocations and some
// hundred nanoseconds; each later task, one access to the map. A batch in which nothing
// is split costs nothing.
func WithPieceIDs() WorkerOption {
	return workerOption(func(o *options) error {
		o.pieceIDKey = MetadataPieceID
		return nil
	})
}
