package funnel

import (
	"errors"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/internal/batch"
)

// Outcome is what has become of a source record.
type Outcome int

// The outcomes of a record.
const (
	// OutcomeUnknown: the record was not acked, or something between the worker and the
	// source hides the outcome.
	OutcomeUnknown Outcome = iota
	// OutcomeDelivered: at least one piece of the record reached the end of its path, and
	// was neither filtered nor nacked there or before.
	OutcomeDelivered
	// OutcomeFiltered: all pieces of the record were filtered before the ends of their paths.
	OutcomeFiltered
	// OutcomeDeadLettered: the record is in the dead-letter queue.
	OutcomeDeadLettered
)

// String returns a word for the outcome, such as "delivered".
func (o Outcome) String() string {
	switch o {
	case OutcomeDelivered:
		return "delivered"
	case OutcomeFiltered:
		return "filtered"
	case OutcomeDeadLettered:
		return "dead-lettered"
	default:
		return "unknown"
	}
}

// outcomeSource is a source that is told the outcomes of its records. A source that embeds
// an outcomeSource is one too.
type outcomeSource interface {
	// beginRun and endRun are called when Do begins and when it ends. The error is that of
	// Do or, if Do does not return, errRunEnded.
	beginRun()
	endRun(error)
	// neverRuns is called with the error if NewWorker or Open has failed.
	neverRuns(error)
	// decide is called before each call of Ack, with the outcomes of the records that it
	// acks.
	decide([]decided)
}

// decided is the outcome of a record. err says why it is in the dead-letter queue.
type decided struct {
	position opencdc.Position
	outcome  Outcome
	err      error
}

// outcomeSourceOf returns s if it is an outcomeSource. If s is a decorator of this package,
// it looks at the source inside. It returns nil if it finds no outcomeSource.
func outcomeSourceOf(s Source) outcomeSource {
	for !isNil(s) {
		if o, ok := s.(outcomeSource); ok {
			return o
		}
		d, ok := s.(interface{ inside() Source })
		if !ok {
			return nil
		}
		s = d.inside()
	}
	return nil
}

// neverRuns tells a source that its worker cannot be made or opened.
func neverRuns(s Source, err error) {
	if o := outcomeSourceOf(s); o != nil {
		o.neverRuns(err)
	}
}

// errRunEnded stands for what has ended a run without an error.
var errRunEnded = errors.New("the worker has panicked, or its goroutine has ended")

// decide tells the source what has become of the finished records [from, to).
func (w *Worker) decide(s *batch.SourceBatch, from, to int) {
	all := make([]decided, to-from)
	for i := range all {
		slot := from + i
		all[i] = decided{position: s.Positions[slot], outcome: OutcomeFiltered}
		if nacked := s.Ledger.Cause(slot); nacked != nil {
			all[i].outcome, all[i].err = OutcomeDeadLettered, taskError(nacked.TaskID, cause(nacked))
		} else if s.IsDelivered(slot) {
			all[i].outcome = OutcomeDelivered
		}
	}
	w.outcomes.decide(all)
}
