package model

import (
	"errors"
	"io"
	"slices"
	"strconv"

	"github.com/conduitio/funnel"
)

// How the model releases what is finished: acks to the source, nacks to the
// dead-letter queue.

// release releases what is finished, or leaves some of it for later. In a fan-out
// it does nothing, the join does it. Nor if batches stay whole, their end does it.
func (s *simulation) release() {
	if s.depth > 0 || s.tree.whole {
		return
	}
	s.due = true
	s.releaseSome(true)
}

// releaseDue releases what was left for later.
func (s *simulation) releaseDue() {
	if s.due && s.depth == 0 {
		s.due = false
		s.releaseSome(false)
	}
}

// releaseRest releases what is finished at the front after the walk has ended in one of
// some ways. It returns in which ways the run may end now.
func (s *simulation) releaseRest(causes []ending) []ending {
	for _, e := range s.doubts {
		if e.slot < s.reached {
			s.clear(e)
		}
	}
	late := s.try(func() {
		if s.tree.whole {
			s.releaseWhole()
		} else {
			s.releaseSome(false)
		}
	})
	if causes == nil || late == nil {
		return causes
	}
	var both []ending
	for _, cause := range causes {
		both = append(both, cause.and(late[0]))
	}
	return both
}

// releaseSome acks the finished slots at the front and sends the nacked ones to
// the dead-letter queue. With hold it leaves those at the end that the run has
// released together with what comes after them.
func (s *simulation) releaseSome(hold bool) {
	for s.front < s.end && s.isFinished(s.front) {
		start, stop, who := s.front, s.ackedRun(s.front), "ack"
		if stop == start {
			stop, who = s.nackedRun(start), "dlq"
		}
		if hold && start+s.sizes[who][start] > stop && (stop == s.end || !s.isFinished(stop)) {
			return
		}
		if who == "ack" {
			s.ack(stop)
			continue
		}
		accepted := start
		for accepted < stop && !s.refuses(accepted) {
			accepted++
		}
		if accepted < stop {
			s.refused = s.refusal(accepted)
		}
		s.send(slotsBetween(start, accepted), accepted)
		if s.refused != nil {
			s.stopRelease(ending{})
		}
	}
}

// releaseWhole sends all nacked slots of a batch to the dead-letter queue and then acks
// all that are finished, up to the first that is not or that is refused.
func (s *simulation) releaseWhole() {
	stop := s.ready(s.front)
	var nacked []int
	for slot := s.front; slot < stop; slot++ {
		switch {
		case !s.isNacked(slot):
		case s.refuses(slot):
			stop, s.refused = slot, s.refusal(slot)
		default:
			nacked = append(nacked, slot)
		}
	}
	s.send(nacked, stop)
	if s.refused != nil {
		s.stopRelease(ending{})
	}
}

// ackedRun returns where the run of slots ends that starts at a slot, is finished and
// was not nacked.
func (s *simulation) ackedRun(start int) (stop int) {
	for stop = start; stop < s.end && s.isFinished(stop) && !s.isNacked(stop); stop++ {
	}
	return stop
}

// nackedRun returns where the run of nacks from one task ends that starts at a slot.
func (s *simulation) nackedRun(start int) (stop int) {
	task := s.nack(start).task
	for stop = start + 1; stop < s.end && s.isFinished(stop) && s.isNacked(stop); stop++ {
		if s.nack(stop).task != task {
			break
		}
		if !s.isSent(stop) && slices.ContainsFunc(s.first[stop], func(d nackInfo) bool { return d.task != task }) {
			break // nobody knows which of them was first
		}
	}
	return stop
}

// isSent reports whether the run has sent a slot to the dead-letter queue.
func (s *simulation) isSent(slot int) bool {
	_, ok := s.letters[slot]
	return ok
}

// nack returns the nack of a slot that counts.
func (s *simulation) nack(slot int) nackInfo {
	for _, nack := range s.first[slot] {
		if actual, ok := s.letters[slot]; ok && nack.matches(actual) {
			return nack
		}
	}
	return s.first[slot][0]
}

// nackErrors returns the errors that a nacked slot may have, none if it may have none.
func (s *simulation) nackErrors(slot int) [][]error {
	var errs []error
	for _, nack := range s.first[slot] {
		if nack.err == nil {
			return nil
		}
		errs = append(errs, nack.err)
	}
	return [][]error{errs}
}

// refusal is the ending because of a nacked slot that is not accepted.
func (s *simulation) refusal(slot int) *ending {
	e := ending{anyOf: s.nackErrors(slot)}
	if q := s.tree.queue; !q.none && q.threshold > 0 {
		e.fatal = true
		e.all = []error{funnel.ErrNackThreshold}
		e.says = []string{strconv.Itoa(q.threshold), strconv.Itoa(q.size)}
	}
	return &e
}

// stopRelease stops because a release has failed, after a refusal if there is one.
func (s *simulation) stopRelease(e ending) {
	s.releasing = true
	e.fails = e.panics == nil
	if s.refused != nil {
		e = s.refused.and(e)
	}
	s.stop(e)
}

// ack is a call of Ack of the source, with the slots from the front to stop.
func (s *simulation) ack(stop int) {
	if stop == s.front {
		return
	}
	step := &expectedCall{who: "ack", slots: slotsBetween(s.front, stop)}
	for _, slot := range step.slots {
		step.items = append(step.items, s.tree.position(slot))
	}
	s.front = stop
	s.emit(step)
	switch s.strikes("", faultSourceAck, faultSourceClosed, faultSourcePanic) {
	case faultNone:
		return
	case faultSourceAck:
		s.stopRelease(ending{all: []error{errAck}})
	case faultSourcePanic:
		s.stopRelease(ending{panics: testPanic})
	}
	if s.tree.ahead == 0 {
		s.emit(&expectedCall{who: "read", items: []string{"reason"}})
	}
	if err := s.tree.reason(); s.reason && err != nil && !errors.Is(err, io.EOF) {
		s.stopRelease(ending{all: []error{err}})
	}
	s.stopRelease(ending{all: []error{io.EOF}})
}

// send sends nacked slots to the dead-letter queue and acks all from the front to stop,
// or to the first nacked one that the queue does not confirm.
func (s *simulation) send(nacked []int, stop int) {
	if len(nacked) == 0 {
		s.ack(stop)
		return
	}
	step := &expectedCall{who: "dlq", slots: nacked}
	for _, slot := range nacked {
		step.items = append(step.items, s.nack(slot).form.String())
		step.nacks = append(step.nacks, s.nack(slot))
	}
	s.emit(step)
	failed := nacked[0]
	switch s.strikes("", faultQueueWrite, faultQueueNack, faultQueueNacks, faultQueuePanic) {
	case faultNone:
		s.ack(stop)
		return
	case faultQueuePanic:
		s.stopRelease(ending{panics: testPanic, anyOf: s.nackErrors(failed)})
	case faultQueueNack, faultQueueNacks:
		failed = nacked[s.tree.queueNacks(len(nacked))[0]]
	}
	s.ack(failed)
	s.stopRelease(ending{fatal: true, all: []error{errQueue}, anyOf: s.nackErrors(failed)})
}

// slotsBetween returns the slots from (included) to (excluded).
func slotsBetween(from, to int) (slots []int) {
	for slot := from; slot < to; slot++ {
		slots = append(slots, slot)
	}
	return slots
}
