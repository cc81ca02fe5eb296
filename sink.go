package funnel

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/conduitio/funnel/internal/turn"
)

// Sink is a part of a pipeline that several workers share, such as the destinations of
// several sources. A worker enters it from one node, whose next nodes are the roots of
// the sink:
//
//	sink, err := funnel.NewSink(table, index)
//	orders.Next = []*funnel.TaskNode{table, index}
//	invoices.Next = []*funnel.TaskNode{table, index}
//
// Workers take turns: one at a time has the sink, in the order in which they ask for it.
// A worker asks before a batch, or a part of a divided batch, enters the sink. It gives
// the sink back when this batch has passed through the whole sink, before anything is
// acked or dead-lettered. Each worker has its own ledger, source and dead-letter queue.
// To each worker, the sink behaves like a part of its own pipeline.
//
// What is given up: a slow batch of one worker holds up the others. A worker that waits
// for the sink has a batch in flight, so [Worker.Stop] waits for it.
//
// If anything goes wrong inside the sink, including the end of a worker's context, it is
// unknown what the tasks have done with the batch. The worker whose batch it was ends
// with that error. Until the sink is opened again, every worker that enters it ends with
// an error that wraps [ErrSinkFailed] and the first error. (So [IsFatalError] and
// [errors.Is] may return true for all of them.) A nack is not a failure of the sink. If a
// best-effort branch of the sink fails, all workers skip it until the sink is opened
// again.
//
// All methods may be called concurrently.
type Sink struct {
	roots     []*TaskNode
	ids       map[*TaskNode]string
	resources []*resource // the tasks in order

	turn turn.Queue // whoever has the turn may use the tasks and the fields below

	phase   sinkPhase
	failure error               // the first error inside the sink since it was opened
	skipped map[*TaskNode]*bool // for each best-effort node
}

// sinkPhase is how far a sink has come in its life.
type sinkPhase int

const (
	sinkNew sinkPhase = iota
	sinkOpen
	sinkFailedOpen // the last Open failed
	sinkClosed
)

// NewSink returns a sink that consists of the roots and all nodes after them. If there
// are several roots, each batch goes to all of them at the same time, as in any fan-out.
//
// NewSink returns an error if there is no root, if a node already belongs to a sink, or
// for any reason for which [NewWorker] rejects a node. The error names the task, if there
// is one. It asks each task for its ID once; the workers use the same IDs. No node of a
// sink may be changed or given to another sink.
func NewSink(roots ...*TaskNode) (*Sink, error) {
	s := &Sink{roots: slices.Clone(roots), skipped: make(map[*TaskNode]*bool)}
	if len(roots) == 0 {
		return nil, errors.New("a sink needs a root")
	}
	if i := slices.Index(roots, nil); i >= 0 {
		return nil, fmt.Errorf("invalid sink: root %d is nil", i)
	}
	v := newValidation(nil)
	for _, root := range roots {
		if err := v.visit(root); err != nil {
			return nil, fmt.Errorf("invalid sink: %w", err)
		}
	}
	if err := checkBestEffort(roots, "at the root"); err != nil {
		return nil, fmt.Errorf("invalid sink: %w", err)
	}
	s.ids = v.ids
	for _, root := range roots {
		for node := range root.TaskNodes() {
			node.sink = s
			s.resources = append(s.resources, taskResource(s.ids[node], node.Task))
			if node.BestEffort {
				s.skipped[node] = new(bool)
			}
		}
	}
	return s, nil
}

// checkNodes returns an error if the nodes of the sink have changed since NewSink.
func (s *Sink) checkNodes() error {
	n := 0
	for _, root := range s.roots {
		for node := range root.TaskNodes() {
			n++
			id, ok := s.ids[node]
			if !ok {
				return errors.New("the sink has changed since it was made: there is another task node")
			}
			if _, was := s.skipped[node]; node.BestEffort != was {
				return fmt.Errorf("the sink has changed since it was made: whether task %q is best effort", id)
			}
		}
	}
	if n != len(s.ids) {
		return fmt.Errorf("the sink has changed since it was made: %d of %d task nodes are left", n, len(s.ids))
	}
	return nil
}

// Open opens the tasks in order. If one of them fails, Open closes those that are open in
// reverse order and returns all errors joined. Open waits until no worker has the sink.
// It may be called again after it failed, after Close, and after something went wrong in
// the sink. It then first closes the tasks that are still open, and returns an error if
// one of them fails to close.
//
// If something panics, Open tries to close everything and then panics with a
// [*PanicError].
func (s *Sink) Open(ctx context.Context) error {
	if err := s.takeEvenLate(ctx); err != nil {
		return err
	}
	defer s.turn.Give()
	if s.phase == sinkOpen && s.failure == nil {
		return errors.New("the sink is open already")
	}
	if err := closeAll(ctx, reversed(s.resources)); err != nil {
		return fmt.Errorf("the sink cannot be opened again, since it is still open in part: %w", err)
	}
	s.phase, s.failure = sinkFailedOpen, nil // until everything is open
	if err := openAll(ctx, s.resources, reversed(s.resources), nil); err != nil {
		return err
	}
	for _, skipped := range s.skipped {
		*skipped = false
	}
	s.phase = sinkOpen
	return nil
}

// Close waits until no worker has the sink, then closes the tasks that are open, in
// reverse order. From then on no worker can enter the sink. If the context ends while
// Close waits, Close closes nothing and returns the context's error.
//
// If something fails to close, Close still closes the rest and joins the errors. If
// something panics, Close tries to close everything and then panics with a
// [*PanicError]. Called again, Close closes only what failed to close.
func (s *Sink) Close(ctx context.Context) error {
	if err := s.takeEvenLate(ctx); err != nil {
		return err
	}
	defer s.turn.Give()
	s.phase = sinkClosed
	return closeAll(ctx, reversed(s.resources))
}

// takeEvenLate waits until the caller has the sink. It takes a free sink even if the
// context has ended.
func (s *Sink) takeEvenLate(ctx context.Context) error {
	if s.turn.TryTake() {
		return nil
	}
	return s.turn.Take(ctx)
}

// take waits until the caller has the sink. It returns an error if the sink cannot be
// used, or if the context ends first. The tasks of a sink that was never opened are
// used as they are, like those of a worker.
func (s *Sink) take(ctx context.Context) error {
	if err := s.turn.Take(ctx); err != nil {
		return contextError(ctx)
	}
	phase, failure := s.phase, s.failure
	if failure == nil && (phase == sinkNew || phase == sinkOpen) {
		return nil
	}
	s.turn.Give() // before a method of the failure is called
	switch {
	case failure != nil:
		return fmt.Errorf("%w: %w", ErrSinkFailed, failure)
	case phase == sinkFailedOpen:
		return fmt.Errorf("%w: opening the sink has failed", ErrNotOpen)
	default:
		return fmt.Errorf("%w: the sink was closed", ErrNotOpen)
	}
}

// give gives the sink back. If failure is not nil, the sink has failed.
func (s *Sink) give(failure error) {
	if s.failure == nil {
		s.failure = failure
	}
	s.turn.Give()
}
