package funnel_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel"
	"github.com/conduitio/funnel/internal/fake"
	"github.com/conduitio/funnel/log"
)

// hostFatal is a host's own mark.
type hostFatal struct{ error }

func (e hostFatal) Unwrap() error { return e.error }

func markFatal(err error) error { return hostFatal{err} }

func isHostFatal(err error) bool { return errors.As(err, &hostFatal{}) }

// An error that is fatal for the engine carries the host's mark, too, and an error that a
// connector has marked is fatal for the engine. Other errors carry neither mark.
func TestWithFatalMark(t *testing.T) {
	for name, tt := range map[string]struct {
		err       error // of the destination
		threshold int
		want      bool
	}{
		"marked by a connector":     {err: markFatal(fake.ErrTest), want: true},
		"wrapped":                   {err: fmt.Errorf("more: %w", markFatal(fake.ErrTest)), want: true},
		"marked by the engine":      {err: funnel.FatalError(fake.ErrTest), want: true},
		"marked twice":              {err: markFatal(funnel.FatalError(fake.ErrTest)), want: true},
		"not fatal":                 {err: fake.ErrTest},
		"raised by the engine":      {threshold: 1, want: true},
		"a nack that is not fatal":  {threshold: 0},
		"an error that cannot talk": {err: (*dumb)(nil)},
	} {
		t.Run(name, func(t *testing.T) {
			fake.BothWays(t, func(t *testing.T, opts ...funnel.WorkerOption) {
				j := &fake.Journal{}
				out := fake.NewDestination(j, "out")
				if tt.err != nil {
					out.OnWrite = func(context.Context, []opencdc.Record) error { return tt.err }
				} else {
					out.Refuse["1"], out.Refuse["2"] = fake.ErrTest, fake.ErrTest
				}
				w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1 2")), fake.To(out)),
					fake.Window(fake.NewDestination(j, "dlq"), 10, tt.threshold), append(opts, funnel.WithFatalMark(markFatal, isHostFatal))...)
				err := fake.RunWorker(t, w)
				if err == nil {
					t.Fatal("there is no error")
				}
				fake.WantFatal(t, err, tt.want)
				if name != "an error that cannot talk" && isHostFatal(err) != tt.want {
					t.Errorf("the host's mark is %t, want %t", !tt.want, tt.want)
				}
			})
		})
	}
}

// dumb is an error whose methods panic on nil.
type dumb struct{ text string }

func (d *dumb) Error() string   { return d.text }
func (d *dumb) As(any) bool     { return d.text != "" }
func (d *dumb) Is(_ error) bool { return d.text != "" }

// Errors of Open, Stop and Close are marked as well.
func TestWithFatalMark_lifecycle(t *testing.T) {
	j := &fake.Journal{}
	source := fake.SourceOf(j)
	source.OnTeardown = func(context.Context) error { return markFatal(fake.ErrTest) }
	out := fake.NewDestination(j, "out")
	out.OnOpen = func(context.Context) error { return markFatal(fake.ErrTest) }
	w := fake.NewWorker(t, fake.Chain(fake.From(source), fake.To(out)), nil, funnel.WithFatalMark(markFatal, isHostFatal))
	fake.WantFatal(t, w.Open(t.Context()), true)
	fake.WantFatal(t, w.Stop(t.Context()), true)
	fake.WantFatal(t, w.Close(t.Context()), true)
}

// If mark does not wrap its error, or returns nil, nothing is lost.
func TestWithFatalMark_oddMarks(t *testing.T) {
	for _, mark := range map[string]func(error) error{
		"does not wrap":      func(error) error { return errors.New("host") },
		"is fatal by itself": func(error) error { return funnel.FatalError(errors.New("host")) },
		"returns nil":        func(error) error { return nil },
	} {
		j := &fake.Journal{}
		out := fake.NewDestination(j, "out")
		out.OnWrite = func(context.Context, []opencdc.Record) error { return funnel.FatalError(fake.ErrTest) }
		w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(j, "1")), fake.To(out)), nil, funnel.WithFatalMark(mark, isHostFatal))
		err := fake.RunWorker(t, w)
		fake.WantFatal(t, err, true)
		fake.WantError(t, err, fake.ErrTest)
		fake.WantTask(t, err, "out")
	}
	for _, opt := range []funnel.WorkerOption{funnel.WithFatalMark(nil, isHostFatal), funnel.WithFatalMark(markFatal, nil)} {
		_, err := funnel.NewWorker(fake.Chain(fake.From(fake.SourceOf(&fake.Journal{})), fake.Out(&fake.Journal{})), nil, log.Nop(), nil, opt)
		fake.WantError(t, err, nil, "fatal mark")
	}
}

// A panic in the mark holds the error.
func TestWithFatalMark_panic(t *testing.T) {
	out := fake.NewDestination(&fake.Journal{}, "out")
	out.OnWrite = func(context.Context, []opencdc.Record) error { return funnel.FatalError(fake.ErrTest) }
	w := fake.NewWorker(t, fake.Chain(fake.From(fake.SourceOf(&fake.Journal{}, "1")), fake.To(out)), nil,
		funnel.WithFatalMark(func(error) error { panic("mark") }, isHostFatal))
	defer func() {
		panicked, ok := recover().(*funnel.PanicError)
		if !ok || panicked.Value != "mark" || !errors.Is(panicked, fake.ErrTest) {
			t.Errorf("panicked with %v", panicked)
		}
	}()
	_ = w.Do(t.Context())
}
