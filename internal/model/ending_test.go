package model

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/conduitio/funnel"
)

// How Do must end, and how it has ended.

// ending is how Do must end.
type ending struct {
	// all are errors that Do's error must be.
	all []error
	// anyOf are groups of errors. Do's error must be one of each.
	anyOf [][]error
	// says are texts that must occur in the error.
	says []string
	// fails is set if Do must return an error; without it, it returns nil.
	fails bool
	// fatal is set if the error must be a fatal one.
	fatal bool
	// panics is the value that Do must panic with, else nil.
	panics any
	// exits is set if Do must not return nil, and may panic or exit.
	exits bool
}

// bad reports whether Do must not return nil.
func (e ending) bad() bool { return e.fails || e.panics != nil || e.exits }

// and returns the ending if something else goes wrong after this one.
func (e ending) and(late ending) ending {
	if e.panics != nil || e.exits {
		return e
	}
	both := ending{
		fails: late.fails, fatal: e.fatal || late.fatal, panics: late.panics,
		all: slices.Concat(e.all, late.all), anyOf: slices.Concat(e.anyOf, late.anyOf),
		says: slices.Concat(e.says, late.says),
	}
	return both
}

// withReads returns also how Do may end if the source is read ahead and has panicked
// meanwhile.
func (m *matching) withReads(endings []ending) []ending {
	all := slices.Clone(endings)
	if f := m.tree.fault; m.tree.ahead > 0 && f.kind == faultReadPanic && len(m.run.of("read")) >= f.nth {
		for _, e := range endings {
			all = append(all, ending{panics: testPanic, all: e.all, anyOf: e.anyOf})
		}
	}
	return all
}

// ending compares how Do ended with one of the ways in which it may.
func (m *matching) ending(want ending, whole bool) {
	got := m.run.outcome
	err := got.err
	switch {
	case got.hung:
		m.differ("Do did not return")
	case want.exits:
		if err == nil && got.panicked == nil && !got.exited {
			m.differ("Do returned nil though a goroutine has exited")
		}
		return
	case want.panics != nil:
		if got.panicked != want.panics && !strings.Contains(fmt.Sprint(got.panicked), fmt.Sprint(want.panics)) {
			m.differ("Do %s, it should have panicked with %v", got, want.panics)
		}
		known, _ := got.panicked.(error)
		m.errs(want, known)
		return
	case got.panicked != nil || got.exited:
		m.differ("Do %s", got)
		return
	}
	if m.tree.fault.cancels() && m.run.struck {
		if errors.Is(err, context.Canceled) {
			return
		}
		if m.tree.fault.kind == faultCancelAt && m.tree.blocks() && err == nil {
			m.differ("Do returned nil though nothing but the context can have ended it")
		}
		if !whole && !want.fails && !m.tree.fault.stops() {
			m.differ("Do %s though the context ended", got)
		}
	}
	if m.short {
		want = ending{}
	}
	m.err(want, err)
}

// errs checks that an error is those that it must be.
func (m *matching) errs(want ending, err error) {
	for _, target := range want.all {
		if !errors.Is(err, target) {
			m.differ("Do ended with %q, which is not %q", err, target)
		}
	}
	is := func(target error) bool { return errors.Is(err, target) }
	for _, targets := range want.anyOf {
		if !slices.ContainsFunc(targets, is) {
			m.differ("Do ended with %q, which is none of %q", err, targets)
		}
	}
}

// err compares the error that Do returned.
func (m *matching) err(want ending, err error) {
	if want.fails != (err != nil) {
		m.differ("Do returned %v, expected %+v", err, want)
		return
	}
	m.errs(want, err)
	for _, text := range want.says {
		if !strings.Contains(err.Error(), text) {
			m.differ("Do returned %q, which does not say %q", err, text)
		}
	}
	if want.fatal && !funnel.IsFatalError(err) {
		m.differ("Do returned %q, which is not fatal", err)
	}
	if want.fails && m.tree.fault.kind != faultReadCanceled && errors.Is(err, context.Canceled) {
		m.differ("Do returned %q, which is a cancellation", err)
	}
}
