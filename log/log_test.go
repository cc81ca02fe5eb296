package log_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/conduitio/funnel/log"
	"github.com/rs/zerolog"
)

type contextKey struct{}

// contextHook adds what the context of a line carries.
type contextHook struct{}

func (contextHook) Run(e *zerolog.Event, _ zerolog.Level, _ string) {
	if v, ok := e.GetCtx().Value(contextKey{}).(string); ok {
		e.Str("from_context", v)
	}
}

func newLogger(level zerolog.Level) (log.CtxLogger, *bytes.Buffer) {
	var out bytes.Buffer
	return log.New(zerolog.New(&out).Level(level).Hook(contextHook{})), &out
}

// line returns the fields of the only line that was written.
func line(t *testing.T, out *bytes.Buffer) map[string]any {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(out.Bytes(), &fields); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	return fields
}

type fields = map[string]any

func TestCtxLogger_Levels(t *testing.T) {
	ctx := context.WithValue(context.Background(), contextKey{}, "value")
	reason := errors.New("reason")
	for name, tc := range map[string]struct {
		start func(l log.CtxLogger) *zerolog.Event
		want  fields
	}{
		"trace":    {func(l log.CtxLogger) *zerolog.Event { return l.Trace(ctx) }, fields{"level": "trace"}},
		"debug":    {func(l log.CtxLogger) *zerolog.Event { return l.Debug(ctx) }, fields{"level": "debug"}},
		"info":     {func(l log.CtxLogger) *zerolog.Event { return l.Info(ctx) }, fields{"level": "info"}},
		"warn":     {func(l log.CtxLogger) *zerolog.Event { return l.Warn(ctx) }, fields{"level": "warn"}},
		"error":    {func(l log.CtxLogger) *zerolog.Event { return l.Error(ctx) }, fields{"level": "error"}},
		"err":      {func(l log.CtxLogger) *zerolog.Event { return l.Err(ctx, reason) }, fields{"level": "error", "error": "reason"}},
		"err nil":  {func(l log.CtxLogger) *zerolog.Event { return l.Err(ctx, nil) }, fields{"level": "info"}},
		"no level": {func(l log.CtxLogger) *zerolog.Event { return l.Log(ctx) }, fields{}},
		"with level": {
			func(l log.CtxLogger) *zerolog.Event { return l.WithLevel(ctx, zerolog.FatalLevel) },
			fields{"level": "fatal"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, out := newLogger(zerolog.TraceLevel)
			tc.start(l.WithComponent("part")).Msg("hello")
			tc.want["message"], tc.want["component"], tc.want["from_context"] = "hello", "part", "value"
			if got := line(t, out); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestCtxLogger_Panic(t *testing.T) {
	l, out := newLogger(zerolog.TraceLevel)
	func() {
		defer func() {
			if r := recover(); r != "hello" {
				t.Errorf("recovered %v", r)
			}
		}()
		l.Panic(context.Background()).Msg("hello")
	}()
	if got, want := line(t, out), (fields{"level": "panic", "message": "hello"}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestCtxLogger_Fatal writes nothing, which would end the process.
func TestCtxLogger_Fatal(t *testing.T) {
	ctx := context.WithValue(context.Background(), contextKey{}, "value")
	l, _ := newLogger(zerolog.TraceLevel)
	if e := l.Fatal(ctx); e.GetCtx() != ctx {
		t.Error("the event does not hold the context")
	}
}

func TestCtxLogger_DisabledLevel(t *testing.T) {
	ctx := context.Background()
	l, out := newLogger(zerolog.WarnLevel)
	l = l.WithComponent("part")
	for _, e := range []*zerolog.Event{l.Trace(ctx), l.Debug(ctx), l.Info(ctx), l.Err(ctx, nil)} {
		if e != nil {
			t.Error("a disabled level made an event")
		}
	}
	if got := testing.AllocsPerRun(100, func() { l.Info(ctx).Str("a", "b").Msg("hello") }); got != 0 {
		t.Errorf("%v allocations", got)
	}
	if out.Len() != 0 {
		t.Errorf("unexpected output %q", out)
	}
}

func TestCtxLogger_WithComponent(t *testing.T) {
	l, out := newLogger(zerolog.InfoLevel)
	outer := l.WithComponent("outer")
	inner := outer.WithComponent("inner")
	if l.Component() != "" || outer.Component() != "outer" || inner.Component() != "inner" {
		t.Errorf("got components %q, %q, %q", l.Component(), outer.Component(), inner.Component())
	}
	for _, tc := range []struct {
		logger log.CtxLogger
		want   string
	}{
		{l, `{"level":"info"}`},
		{outer, `{"level":"info","component":"outer"}`},
		{inner, `{"level":"info","component":"inner"}`},
	} {
		out.Reset()
		tc.logger.Info(context.Background()).Send()
		if got := strings.TrimSpace(out.String()); got != tc.want {
			t.Errorf("got %s, want %s", got, tc.want)
		}
	}
}

func TestCtxLogger_WithField(t *testing.T) {
	l, out := newLogger(zerolog.InfoLevel)
	derived := l.WithComponent("part").WithField(log.ConnectorIDField, "id")
	derived.Info(context.Background()).Send()
	want := fields{"level": "info", "component": "part", "connector_id": "id"}
	if got := line(t, out); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	out.Reset()
	l.Info(context.Background()).Send()
	if got, want := line(t, out), (fields{"level": "info"}); !reflect.DeepEqual(got, want) {
		t.Errorf("the field shows in the logger that was extended: %v", got)
	}
}

func TestCtxLogger_Embedded(t *testing.T) {
	l, out := newLogger(zerolog.InfoLevel)
	l.Logger.Info().Msg("plain")
	if got, want := line(t, out), (fields{"level": "info", "message": "plain"}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSilentLoggers(t *testing.T) {
	for name, l := range map[string]log.CtxLogger{"Nop": log.Nop(), "zero value": {}} {
		l.WithComponent("part").WithField("a", "b").Error(context.Background()).Msg(name)
	}
	if log.Nop().Error(context.Background()) != nil {
		t.Error("Nop made an event")
	}
}

// testLog keeps what is logged to a test.
type testLog struct {
	testing.TB
	out strings.Builder
}

func (t *testLog) Log(args ...any) { fmt.Fprint(&t.out, args...) }
func (t *testLog) Logf(format string, args ...any) {
	fmt.Fprintf(&t.out, format, args...)
}

func TestTest(t *testing.T) {
	captured := &testLog{TB: t}
	log.Test(captured).Trace(context.Background()).Msg("hello")
	if got := captured.out.String(); !strings.Contains(got, "hello") || !strings.Contains(got, "trace") {
		t.Errorf("unexpected log %q", got)
	}
}
