package funnel

import "errors"

// WithFatalMark lets a host use its own mark for fatal errors. An error of Do, Open, Stop
// or Close then carries both marks or neither: if [IsFatalError] returns true for it,
// mark adds the host's mark; if is returns true for it, [FatalError] adds the engine's.
// So the host recognizes errors that are fatal for the engine, and an error that one of
// the host's connectors has marked is fatal for the engine, too.
//
// mark gets the whole error and returns one that wraps it. Nil means the error itself; an
// error that does not wrap it is joined to it. If is panics, which a method of a
// connector's error may cause, the error counts as unmarked. Both are called on the
// goroutine of the method that returns the error. [NewWorker] returns an error if one of
// them is nil.
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
		var marked error
		_ = keeping(err, func() error { marked = m.mark(err); return nil })
		switch {
		case marked == nil:
			return err
		case isAny(marked, err):
			return marked
		}
		return FatalError(joinErrors(marked, err)) // it does not wrap err
	}
	if isMarked && !isFatal {
		return FatalError(err)
	}
	return err
}

// isMarked returns the result of is, or false if is panics.
func (m *fatalMark) isMarked(err error) (is bool) {
	defer func() { _ = recover() }()
	return m.is(err)
}
