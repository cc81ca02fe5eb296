package model

import (
	"errors"
	"io"
	"slices"
	"strconv"
)

// How the model releases what is finished: acks to the source, nacks to the
// dead-letter queue.

// release releases what is finished, or leaves some of it for later. In a fan-out
// it does nothing, the join does it.
func (s *simulation) release() {
	if s.depth > 0 {
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

// releaseSome acks the finished slots at the front and sends the nacked ones to
// the dead-letter queue. With hold it leaves those at the end that the run has
// released together with what comes after them.
func (s *simulation) releaseSome(hold bool) {
	for s.front < s.end && s.out[s.front] == 0 {
		start, stop, who := s.front, s.ackedRun(s.front), "ack"
		if stop == start {
			stop, who = s.nackedRun(start), "dlq"
		}
		if hold && start+s.sizes[who][start] > stop && (stop == s.end || s.out[stop] > 0) {
			return
		}
		for ; s.front < stop; s.front++ {
			if who == "ack" {
				s.remember(false)
			} else if s.tree.queue.none || s.remember(true) {
				s.send(start)
				s.refuse()
			}
		}
		if who == "ack" {
			s.ack(start)
		} else {
			s.send(start)
		}
	}
}

// ackedRun returns where the run of slots ends that starts at a slot, is finished and
// was not nacked.
func (s *simulation) ackedRun(start int) (stop int) {
	for stop = start; stop < s.end && s.out[stop] == 0 && len(s.first[stop]) == 0; stop++ {
	}
	return stop
}

// nackedRun returns where the run of nacks from one task ends that starts at a slot.
func (s *simulation) nackedRun(start int) (stop int) {
	task := s.nack(start).task
	for stop = start + 1; stop < s.end && s.out[stop] == 0 && len(s.first[stop]) > 0; stop++ {
		if s.nack(stop).task != task {
			break
		}
		if _, ok := s.letters[stop]; !ok && slices.ContainsFunc(s.first[stop], func(d nackInfo) bool { return d.task != task }) {
			break // it was not sent, so that nobody knows which of them was first
		}
	}
	return stop
}

// remember puts an outcome into the window and reports whether it makes too
// many nacks there.
func (s *simulation) remember(nack bool) bool {
	if s.tree.queue.size == 0 {
		return false
	}
	s.window = append(s.window, nack)
	if len(s.window) > s.tree.queue.size {
		s.window = s.window[1:]
	}
	nacks := 0
	for _, nack := range s.window {
		if nack {
			nacks++
		}
	}
	return nack && nacks > s.tree.queue.threshold
}

// refuse stops because the slot at the front was nacked and not accepted.
func (s *simulation) refuse() {
	e := ending{}
	for _, nack := range s.first[s.front] {
		if nack.err != nil {
			e.any = append(e.any, nack.err)
		} else {
			e.any = nil // a nack without an error may have been first
			break
		}
	}
	if q := s.tree.queue; !q.none && q.threshold > 0 {
		e.fatal = true
		e.says = []string{strconv.Itoa(q.threshold), strconv.Itoa(q.size)}
	}
	s.fail(e)
}

// ack is a call of Ack of the source, with the slots from start to the front.
func (s *simulation) ack(start int) {
	step := &expectedCall{who: "ack"}
	for slot := start; slot < s.front; slot++ {
		step.slots = append(step.slots, slot)
		step.items = append(step.items, s.tree.position(slot))
	}
	s.emit(step)
	if !s.strikes("", faultSourceAck, faultSourceClosed, faultSourcePanic) {
		return
	}
	switch s.tree.fault.kind {
	case faultSourceAck:
		s.fail(ending{all: []error{errAck}})
	case faultSourcePanic:
		s.stop(ending{panics: testPanic})
	}
	if s.tree.ahead == 0 {
		s.emit(&expectedCall{who: "read", items: []string{"reason"}})
	}
	if err := s.tree.reason(); s.reason && err != nil && !errors.Is(err, io.EOF) {
		s.fail(ending{all: []error{err}})
	}
	s.fail(ending{all: []error{io.EOF}})
}

// send sends the slots from start to the front to the dead-letter queue and
// acks those that it confirms.
func (s *simulation) send(start int) {
	if start == s.front {
		return
	}
	step := &expectedCall{who: "dlq"}
	for slot := start; slot < s.front; slot++ {
		step.slots = append(step.slots, slot)
		step.items = append(step.items, s.nack(slot).form.String())
		step.nacks = append(step.nacks, s.nack(slot))
	}
	s.emit(step)
	if s.strikes("", faultQueueWrite, faultQueueNack, faultQueuePanic) {
		switch s.tree.fault.kind {
		case faultQueuePanic:
			s.stop(ending{panics: testPanic})
		case faultQueueNack:
			s.front = start + s.tree.queueNacks(len(step.slots))
			if start < s.front {
				s.ack(start)
			}
		}
		s.fail(ending{fatal: true, all: []error{errQueue}})
	}
	s.ack(start)
}
