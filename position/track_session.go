package position

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/lock"
)

// session is what happens from an Open to its Teardown.
//
// Saving and acking is one job, under the lock saving. Ack does it, the saver if positions
// are coalesced, and Teardown. It saves the last pending position, and only then acks the
// inner source. Positions are pending until they are saved. So the next of the three repeats
// a failed save, with the positions that have come since.
//
// The lock using keeps an ack of the inner source and its teardown apart. It is a lock of
// its own so that a save that hangs does not keep the inner source from being torn down.
type session struct {
	id     string
	claim  Claim
	source funnel.Source
	saver  *saver // nil if each Ack saves

	closing *lock.Mutex // held by Teardown
	saving  *lock.Mutex // held while positions are saved and acked
	using   *lock.Mutex // held while the inner source is acked or torn down

	hasAckFailed bool // the inner source has failed to ack: Teardown acks it no more; see saving
	isLeaving    bool // the teardown of the inner source has begun; see using
	isDown       bool // it has succeeded; see closing
	isSaved      bool // since Teardown has begun, nothing is left to save; see closing
	isReleased   bool // see closing

	mu      sync.Mutex
	pending []opencdc.Position // not saved yet, in order
	busy    int                // how many of the first ones are being saved
	isOver  bool               // Teardown has begun
}

func newSession(ctx context.Context, id string, claim Claim, source funnel.Source, config trackConfig) *session {
	s := &session{id: id, claim: claim, source: source, closing: lock.New(), saving: lock.New(), using: lock.New()}
	if config.records > 0 {
		s.saver = newSaver(ctx, s, config)
		go s.saver.run()
	}
	return s
}

// isTearingDown returns true once Teardown has begun.
func (s *session) isTearingDown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isOver
}

func (s *session) read(ctx context.Context) ([]opencdc.Record, error) {
	switch {
	case s.isTearingDown():
		return nil, errTornDown
	case s.saver != nil:
		return s.saver.read(ctx)
	default:
		return s.source.Read(ctx)
	}
}

// ack saves the positions and acks the inner source.
func (s *session) ack(ctx context.Context, positions []opencdc.Position) error {
	if s.isTearingDown() {
		return errTornDown // without waiting for what Teardown waits for
	}
	if err := s.saving.Lock(ctx); err != nil {
		return err
	}
	defer s.saving.Unlock()
	if !s.add(positions) {
		return errTornDown
	}
	saved, err := s.save(ctx)
	if err != nil {
		return err
	}
	return s.ackSource(ctx, saved)
}

// add adds positions to the pending ones. Those that are pending because a save has failed
// may come again. It returns false if Teardown has begun.
func (s *session) add(positions []opencdc.Position) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isOver {
		return false
	}
	if isPrefix(s.pending, positions) {
		s.pending = positions
	} else {
		s.pending = append(slices.Clip(s.pending), positions...)
	}
	return true
}

// isPrefix returns true if all begins with the positions of first.
func isPrefix(first, all []opencdc.Position) bool {
	if len(first) > len(all) {
		return false
	}
	for i, p := range first {
		if !bytes.Equal(p, all[i]) {
			return false
		}
	}
	return true
}

// save saves the last pending position, and returns the positions that are saved with it.
// The caller holds the lock saving.
func (s *session) save(ctx context.Context) ([]opencdc.Position, error) {
	positions := s.beginSave()
	defer s.endSave(0) // unless the save succeeds
	if len(positions) == 0 {
		return nil, nil
	}
	if err := s.claim.Save(ctx, positions[len(positions)-1]); err != nil {
		err = fmt.Errorf("failed to save the position of source %s: %w", quote(s.id), err)
		if errors.Is(err, ErrFenced) { // somebody else has the position, or has removed it
			err = funnel.FatalError(err)
		}
		return nil, err
	}
	s.endSave(len(positions))
	return positions, nil
}

func (s *session) beginSave() []opencdc.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = len(s.pending)
	if s.saver != nil {
		s.saver.wake()
	}
	return slices.Clip(s.pending)
}

// endSave removes the first n pending positions, which are saved.
func (s *session) endSave(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = 0
	if s.pending = s.pending[n:]; len(s.pending) == 0 {
		s.pending = nil
	}
}

// ackSource acks the inner source, unless its teardown has begun. The caller holds the lock
// saving.
func (s *session) ackSource(ctx context.Context, positions []opencdc.Position) error {
	if err := s.using.Lock(ctx); err != nil {
		return err
	}
	defer s.using.Unlock()
	if s.isLeaving {
		return errTornDown
	}
	s.hasAckFailed = true // also after a panic
	err := s.source.Ack(ctx, positions)
	s.hasAckFailed = err != nil
	return err
}

// tearDown does what is left of the teardown.
func (s *session) tearDown(ctx context.Context) (err error) {
	if err := s.closing.Lock(ctx); err != nil {
		return err
	}
	defer s.closing.Unlock()
	s.end()
	var failed failures
	defer failed.result(&err)
	defer failed.try(func() error { return s.release(ctx) })
	defer failed.try(func() error { return s.leave(ctx) })
	failed.try(func() error { return s.saveRest(ctx) })
	if s.saver != nil {
		failed.try(s.saver.report)
	}
	return nil
}

// end lets no more positions come.
func (s *session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isOver {
		return
	}
	s.isOver = true
	if s.saver != nil {
		s.saver.wake()
		close(s.saver.quit)
	}
}

// saveRest stops the saver, saves what is pending, and acks the inner source.
func (s *session) saveRest(ctx context.Context) error {
	if err := s.saving.Lock(ctx); err != nil {
		if s.saver != nil {
			s.saver.cancel()
		}
		return fmt.Errorf("the position of source %s is still being saved: %w", quote(s.id), err)
	}
	if s.saver != nil {
		defer func() { <-s.saver.done }() // it has nothing left to do
	}
	defer s.saving.Unlock()
	saved, err := s.save(ctx)
	if errors.Is(err, ErrFenced) { // it can never be saved: the claim is given up with it
		s.mu.Lock()
		s.pending = nil
		s.mu.Unlock()
		s.isSaved = true
	}
	if err != nil {
		return err
	}
	s.isSaved = true
	if len(saved) == 0 || s.hasAckFailed || s.isLeaving {
		return nil
	}
	if err := s.ackSource(ctx, saved); err != nil {
		return fmt.Errorf("failed to ack records in source %s: %w", quote(s.id), err)
	}
	return nil
}

// leave tears the inner source down, once.
func (s *session) leave(ctx context.Context) error {
	if err := s.using.Lock(ctx); err != nil {
		return fmt.Errorf("an ack of source %s has not returned: %w", quote(s.id), err)
	}
	defer s.using.Unlock()
	if s.isDown {
		return nil
	}
	s.isLeaving = true
	if s.saver != nil {
		defer s.saver.reads.end(errTornDown)
	}
	if err := s.source.Teardown(ctx); err != nil {
		return err
	}
	s.isDown = true
	return nil
}

// release releases the claim, once nothing needs it anymore.
func (s *session) release(ctx context.Context) error {
	if s.isReleased || !s.isSaved || !s.isDown {
		return nil
	}
	if err := s.claim.Release(ctx); err != nil {
		return fmt.Errorf("failed to release the claim of source %s: %w", quote(s.id), err)
	}
	s.isReleased = true
	return nil
}

// failures collects what goes wrong in several steps.
type failures struct {
	errs     []error
	panicked *funnel.PanicError
}

// try takes a step. It catches a panic.
func (f *failures) try(step func() error) {
	defer func() {
		value := recover()
		switch {
		case value == nil:
		case f.panicked == nil:
			f.panicked = newPanicError(value, nil)
		default:
			f.errs = append(f.errs, newPanicError(value, nil))
		}
	}()
	if err := step(); err != nil {
		f.errs = append(f.errs, err)
	}
}

// result joins the errors, or panics if a step has.
func (f *failures) result(err *error) {
	*err = errors.Join(f.errs...)
	if f.panicked != nil {
		panic(newPanicError(f.panicked, *err))
	}
}
