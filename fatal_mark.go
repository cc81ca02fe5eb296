package funnel

import "errors"

// WithFatalMark lets a host use its own mark for fatal errors. The error that Do, Open,
// Stop or Close returns then carries both marks or none: if it is fatal for
// [IsFatalError], mark adds the host's; if it is fatal for the host, which is says,
// [FatalError] adds the engine's. So the host recognises what the engine calls fatal,
// and what its own connectors have marked counts for the engine.
//
// mark is given the whole error and returns one that wraps it; nil counts as the error
// itself. If is panics, which a method of a connector's error may cause, the error
// counts as not marked. Both are called on the goroutine of the method that returns the
// error. [NewWorker] returns an error if one of them is nil.
func WithFatalMark(mark func(error) error, is func(error) bool) WorkerOption {
	return workerOption(func(o *options) error {
		if mark == nil || is == nil {
			return errors.New("a function of the fatal mark is nil")
		}
		o.fatalMark = &fatalMark{mark: mark, is: is}
		return nil
	})
}

// fatalMark is the host's mark for fatal errors.
type fatalMark struct {
	mark func(error) error
	is   func(error) bool
}

// add returns err with both marks if it has one of them. A nil *fatalMark adds nothing.
func (m *fatalMark) add(err error) error {
	if m == nil || err == nil {
		return err
	}
	isFatal, isMarked := IsFatalError(err), m.isMarked(err)
	if isFatal && !isMarked {
		if marked := m.mark(err); marked != nil {
			err = marked
		}
		if IsFatalError(err) {
			return err
		}
		return FatalError(err) // mark has returned an error that does not wrap err
	}
	if isMarked && !isFatal {
		return FatalError(err)
	}
	return err
}

// isMarked returns what is returns, or false if it panics.
func (m *fatalMark) isMarked(err error) (is bool) {
	defer func() { _ = recover() }()
	return m.is(err)
}
