package model

// What can go wrong in a tree.

// faultKind is what goes wrong in a tree, if anything does.
type faultKind int

const (
	faultNone faultKind = iota

	// In a destination.
	faultWrite    // Write returns an error
	faultAck      // Ack returns an error
	faultAckWrong // Ack confirms a position that is not the next
	faultAckMany  // Ack confirms more than was written
	faultAckStop  // Ack confirms nothing anymore

	// In a processor.
	faultNothing // returns no result
	faultTooMany // returns a result too many
	faultAlien   // returns a result of an unknown kind

	// In a processor or a custom task.
	faultMute // leaves all unanswered from then on

	// In a custom task.
	faultTask // returns an error

	// In any task.
	faultPanic
	faultGoexit
	faultCancel    // the context of Do ends
	faultStop      // Stop is called
	faultStopShort // Stop is called with a context that does not wait

	// In the source.
	faultRead         // Read returns an error
	faultReadCanceled // Read returns context.Canceled for no reason
	faultNoPosition   // a record has no position
	faultReadPanic    // Read panics
	faultSourceAck    // Ack returns an error
	faultSourcePanic  // Ack panics
	faultSourceClosed // Ack returns io.EOF, and Read the reason
	faultStopFirst    // Stop is called before Do

	// At some time, nth half milliseconds after the start.
	faultStopAt   // Stop is called
	faultCancelAt // the context of Do ends
	faultBothAt   // Stop is called, and the context ends soon after

	// In the dead-letter queue.
	faultQueueWrite // Write returns an error
	faultQueueNack  // Ack returns an ack with an error
	faultQueueNacks // Ack returns several of them
	faultQueuePanic // Write panics
	faults
)

var faultNames = [faults]string{
	faultNone: "none", faultWrite: "write fails", faultAck: "ack fails", faultAckWrong: "acks a wrong position",
	faultAckMany: "acks too many", faultAckStop: "stops acking", faultNothing: "returns nothing",
	faultTooMany: "returns too many", faultAlien: "returns an unknown result", faultMute: "goes mute",
	faultTask: "fails", faultPanic: "panics", faultGoexit: "exits its goroutine", faultCancel: "context ends",
	faultStop: "stop is called", faultStopShort: "stop does not wait", faultRead: "read fails",
	faultReadCanceled: "read returns a cancellation", faultNoPosition: "record without position",
	faultReadPanic: "read panics", faultSourceAck: "source ack fails", faultSourcePanic: "source ack panics",
	faultSourceClosed: "source ack returns EOF", faultStopFirst: "stop before Do",
	faultStopAt: "stop is called some time", faultCancelAt: "context ends some time",
	faultBothAt:     "stop is called some time and the context ends",
	faultQueueWrite: "queue write fails", faultQueueNack: "queue nacks",
	faultQueueNacks: "queue nacks several", faultQueuePanic: "queue panics",
}

// fault happens at the nth call, counted from 1, of the thing it is about.
type fault struct {
	kind faultKind
	node string // for a fault in a task
	nth  int
}

// stops reports whether Stop is called during Do.
func (f fault) stops() bool {
	return f.kind == faultStop || f.kind == faultStopAt || f.kind == faultBothAt
}

// cancels reports whether the context of Do ends.
func (f fault) cancels() bool {
	return f.kind == faultCancel || f.kind == faultCancelAt || f.kind == faultBothAt
}

// isTimed reports whether the fault happens at a certain time.
func (f fault) isTimed() bool {
	return f.kind == faultStopAt || f.kind == faultCancelAt || f.kind == faultBothAt
}

// waitingWrite is a write that waits until its context ends, as it does because
// another branch fails.
type waitingWrite struct {
	node string
	nth  int
}
