package funnel

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Collecting failures from several places, and handling errors whose methods cannot be
// trusted.

// guard calls f and then tells ended how f ended: with an error, which may be nil, or
// with a panic, which goes no further. If f ends the goroutine, which cannot be
// prevented, the error is ErrGoexit.
func guard(f func() error, ended func(err error, panicked *PanicError)) {
	err := ErrGoexit
	defer func() {
		if value := recover(); value != nil {
			ended(nil, newPanicError(value))
		} else {
			ended(err, nil)
		}
	}()
	err = f()
}

// outcome collects failures from several places, so that none hides another. The zero
// value holds none.
type outcome struct {
	errs     []error
	panicked *PanicError // the first panic; later ones are in errs
}

// add adds an error and a panic, which may both be nil.
func (o *outcome) add(err error, panicked *PanicError) {
	if err != nil {
		o.errs = append(o.errs, err)
	}
	switch {
	case panicked == nil:
	case o.panicked == nil:
		o.panicked = panicked
	default:
		o.errs = append(o.errs, panicked)
	}
}

// isFailure returns true if anything went wrong.
func (o *outcome) isFailure() bool { return len(o.errs) > 0 || o.panicked != nil }

// all returns the errors, with the panic as one of them.
func (o *outcome) all() []error {
	if o.panicked == nil {
		return o.errs
	}
	return append([]error{o.panicked}, o.errs...)
}

// try calls f and adds its error or panic. If f ends the goroutine, it adds
// nothing.
func (o *outcome) try(f func() error) {
	defer func() {
		if value := recover(); value != nil {
			o.add(nil, newPanicError(value))
		}
	}()
	o.add(f(), nil)
}

// result joins the errors and returns them. If there was a panic, it panics instead.
func (o *outcome) result() error {
	err := joinErrors(o.errs...)
	if o.panicked == nil {
		return err
	}
	if err != nil {
		panic(o.panicked.with(err))
	}
	panic(o.panicked)
}

// keeping calls f and returns its error. If f panics, the panic also holds err, an
// earlier error or nil.
func keeping(err error, f func() error) error {
	if err != nil {
		defer func() {
			if value := recover(); value != nil {
				panic(newPanicError(value).with(err))
			}
		}()
	}
	return f()
}

// also calls f and joins its error to err, an earlier error or nil. If f panics, the
// panic also holds err.
func also(err error, f func() error) error {
	return joinErrors(err, keeping(err, f))
}

// joinErrors joins the errors that are not nil. A single one is returned as it is.
func joinErrors(errs ...error) error {
	var last error
	n := 0
	for _, err := range errs {
		if err != nil {
			last = err
			n++
		}
	}
	if n <= 1 {
		return last
	}
	return errors.Join(errs...)
}

// contextError returns an error that wraps the context's error and its cause, or nil if
// the context has not ended.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if err == nil || cause == nil || errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// withContextError joins the context's error to err if the context has ended. If err
// says nothing else, it returns the context's error alone.
func withContextError(ctx context.Context, err error) error {
	ended := contextError(ctx)
	if ended == nil {
		return err
	}
	if isOnly(err, ctx.Err(), context.Cause(ctx)) {
		return ended
	}
	return errors.Join(ended, err)
}

// isOnly returns true if err is or wraps one of the targets, or joins only such errors.
// If a method of err panics, err counts as something else. A target may wrap errors, too.
func isOnly(err error, targets ...error) (is bool) {
	defer func() { _ = recover() }()
	if slices.ContainsFunc(targets, func(target error) bool { return isEqual(err, target) }) {
		return true
	}
	switch e := err.(type) {
	case *innerError:
		return isOnly(e.err, targets...)
	case interface{ Unwrap() []error }:
		joined := e.Unwrap()
		return len(joined) > 0 && !slices.ContainsFunc(joined, func(err error) bool { return !isOnly(err, targets...) })
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return isOnly(inner, targets...)
		}
	}
	return isAny(err, targets...)
}

// isEqual returns true if the errors are equal. Errors of a type that cannot be compared are
// not.
func isEqual(a, b error) (is bool) {
	defer func() { _ = recover() }()
	return a == b
}

// isAny returns true if err is or wraps one of the targets. If a method of err panics,
// it returns false.
func isAny(err error, targets ...error) (is bool) {
	defer func() { _ = recover() }()
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}

// find is [errors.As], but finds nothing if a method of err panics.
func find[E error](err error) (found E, ok bool) {
	defer func() { _ = recover() }()
	ok = errors.As(err, &found)
	return found, ok
}
