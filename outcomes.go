package funnel

import "github.com/conduitio/funnel/internal/batch"

// Outcome is what has become of a source record.
type Outcome int

// The outcomes of a record.
const (
	// OutcomeUnknown: the record was not acked, or something between the worker and the
	// source has hidden what became of it.
	OutcomeUnknown Outcome = iota
	// OutcomeDelivered: at least one piece of the record was written to a destination.
	OutcomeDelivered
	// OutcomeFiltered: all pieces of the record were filtered.
	OutcomeFiltered
	// OutcomeDeadLettered: the record is in the dead-letter queue.
	OutcomeDeadLettered
)

// String returns a word for the outcome, like "delivered".
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

// outcomeSource is a source that wants to know what becomes of its records. A source that
// embeds one is one, too.
type outcomeSource interface {
	// beginRun and endRun are called when Do begins and when it ends. The error is why it
	// ends, or nil, also if it panics.
	beginRun()
	endRun(error)
	// decide is called before each call of Ack, with the outcomes of the records that it
	// acks.
	decide([]decided)
}

// decided is the outcome of a record. err is why it is in the dead-letter queue.
type decided struct {
	outcome Outcome
	err     error
}

// outcomeSourceOf returns s or, if s is a decorator of this package, the source inside, if
// it is an outcomeSource, and else nil.
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

// decide tells the source what has become of the finished records [from, to).
func (w *Worker) decide(s *batch.SourceBatch, from, to int) {
	all := make([]decided, 0, to-from)
	for slot := from; slot < to; slot++ {
		switch nacked := s.Ledger.Cause(slot); {
		case nacked != nil:
			all = append(all, decided{OutcomeDeadLettered, taskError(nacked.TaskID, cause(nacked))})
		case s.IsDelivered(slot):
			all = append(all, decided{outcome: OutcomeDelivered})
		default:
			all = append(all, decided{outcome: OutcomeFiltered})
		}
	}
	w.outcomes.decide(all)
}
