// Package log is the logger of the engine: zerolog with a context on every line, so
// that a host's hooks can add values from the context.
package log

import (
	"context"
	"log/slog"
	"testing"

	"github.com/rs/zerolog"
)

// The names of the fields in the engine's log lines.
const (
	ComponentField      = "component"
	ConnectorIDField    = "connector_id"
	ProcessorIDField    = "processor_id"
	NodeIDField         = "node_id"
	TaskIDField         = "task_id"
	RecordPositionField = "record_position"
)

// CtxLogger is a zerolog.Logger whose level methods take a context, which the hooks of
// the logger get from [zerolog.Event.GetCtx]. A line of a disabled level costs nothing:
// its event is nil.
//
// A CtxLogger may be copied. It is safe for concurrent use if its writer is. The zero
// value writes nothing.
type CtxLogger struct {
	zerolog.Logger
	component string
	handler   slog.Handler // of FromSlog, or nil
}

// New returns a CtxLogger that writes to logger.
func New(logger zerolog.Logger) CtxLogger {
	return CtxLogger{Logger: logger}
}

// Nop returns a CtxLogger that writes nothing.
func Nop() CtxLogger {
	return New(zerolog.Nop())
}

// Test returns a CtxLogger that writes all levels to the log of a test.
func Test(t testing.TB) CtxLogger {
	t.Helper()
	return New(zerolog.New(zerolog.NewTestWriter(t)))
}

// WithComponent returns a logger that adds the component to every line and drops the
// component of l.
func (l CtxLogger) WithComponent(component string) CtxLogger {
	l.component = component
	return l
}

// Component returns the component set by WithComponent, or "".
func (l CtxLogger) Component() string {
	return l.component
}

// WithField returns a logger that adds a text field to every line.
func (l CtxLogger) WithField(name, value string) CtxLogger {
	l.Logger = l.Logger.With().Str(name, value).Logger()
	return l
}

// Trace starts a line of level trace. As with all levels, nothing is written until Msg
// or Send is called on the event.
func (l CtxLogger) Trace(ctx context.Context) *zerolog.Event {
	return l.start(ctx, l.at(ctx, zerolog.TraceLevel).Trace())
}

// Debug starts a line of level debug.
func (l CtxLogger) Debug(ctx context.Context) *zerolog.Event {
	return l.start(ctx, l.at(ctx, zerolog.DebugLevel).Debug())
}

// Info starts a line of level info.
func (l CtxLogger) Info(ctx context.Context) *zerolog.Event {
	return l.start(ctx, l.at(ctx, zerolog.InfoLevel).Info())
}

// Warn starts a line of level warn.
func (l CtxLogger) Warn(ctx context.Context) *zerolog.Event {
	return l.start(ctx, l.at(ctx, zerolog.WarnLevel).Warn())
}

// Error starts a line of level error.
func (l CtxLogger) Error(ctx context.Context) *zerolog.Event {
	return l.start(ctx, l.at(ctx, zerolog.ErrorLevel).Error())
}

// Err starts a line of level error with err, or of level info if err is nil.
func (l CtxLogger) Err(ctx context.Context, err error) *zerolog.Event {
	if err == nil {
		return l.Info(ctx)
	}
	return l.start(ctx, l.at(ctx, zerolog.ErrorLevel).Err(err))
}

// Fatal starts a line of level fatal. As in zerolog, writing it ends the
// process, and so does Fatal itself if the level is off. The engine never calls
// it.
func (l CtxLogger) Fatal(ctx context.Context) *zerolog.Event {
	return l.start(ctx, l.at(ctx, zerolog.FatalLevel).Fatal())
}

// Panic starts a line of level panic. As in zerolog, writing it panics, and so
// does Panic itself if the level is off. The engine never calls it.
func (l CtxLogger) Panic(ctx context.Context) *zerolog.Event {
	return l.start(ctx, l.at(ctx, zerolog.PanicLevel).Panic())
}

// WithLevel starts a line of the given level. It neither ends the process nor
// panics, whatever the level.
func (l CtxLogger) WithLevel(ctx context.Context, level zerolog.Level) *zerolog.Event {
	return l.start(ctx, l.at(ctx, level).WithLevel(level))
}

// Log starts a line without a level.
func (l CtxLogger) Log(ctx context.Context) *zerolog.Event {
	return l.start(ctx, l.at(ctx, zerolog.NoLevel).Log())
}

// at returns the logger for a line of a level.
func (l *CtxLogger) at(ctx context.Context, level zerolog.Level) *zerolog.Logger {
	if l.handler == nil {
		return &l.Logger
	}
	return l.atSlog(ctx, level)
}

// start adds the context and the component to an event. The event of a disabled level
// is nil.
func (l CtxLogger) start(ctx context.Context, e *zerolog.Event) *zerolog.Event {
	if e == nil {
		return nil
	}
	e = e.Ctx(ctx)
	if l.component != "" {
		e = e.Str(ComponentField, l.component)
	}
	return e
}
