package log_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/conduitio/funnel/log"
	"github.com/rs/zerolog"
)

// slogLine is what a handler has got.
type slogLine struct {
	level   slog.Level
	message string
	fields  string
	ctx     any
}

// slogRecorder is a handler that records lines, with the fields of loggers above it.
type slogRecorder struct {
	level slog.Leveler
	lines *[]slogLine
	asked *int
}

func newSlogRecorder(level slog.Leveler) slogRecorder {
	return slogRecorder{level, new([]slogLine), new(int)}
}

func (r slogRecorder) Enabled(ctx context.Context, level slog.Level) bool {
	*r.asked++
	return level >= r.level.Level() || ctx.Value(contextKey{}) == "all"
}

func (r slogRecorder) Handle(ctx context.Context, record slog.Record) error {
	var fields []string
	record.Attrs(func(a slog.Attr) bool {
		fields = append(fields, fmt.Sprintf("%s=%v(%s)", a.Key, a.Value, a.Value.Kind()))
		return true
	})
	if record.Time.IsZero() || time.Since(record.Time) > time.Minute {
		fields = append(fields, "without its time")
	}
	*r.lines = append(*r.lines, slogLine{record.Level, record.Message, strings.Join(fields, " "), ctx.Value(contextKey{})})
	return nil
}

func (r slogRecorder) WithAttrs([]slog.Attr) slog.Handler { panic("not called") }
func (r slogRecorder) WithGroup(string) slog.Handler      { panic("not called") }

func TestFromSlog(t *testing.T) {
	ctx := context.WithValue(context.Background(), contextKey{}, "value")
	for name, tt := range map[string]struct {
		write func(log.CtxLogger)
		want  slogLine
	}{
		"trace": {func(l log.CtxLogger) { l.Trace(ctx).Msg("m") }, slogLine{log.LevelTrace, "m", "", "value"}},
		"debug": {func(l log.CtxLogger) { l.Debug(ctx).Msg("m") }, slogLine{slog.LevelDebug, "m", "", "value"}},
		"info":  {func(l log.CtxLogger) { l.Info(ctx).Msg("m") }, slogLine{slog.LevelInfo, "m", "", "value"}},
		"warn":  {func(l log.CtxLogger) { l.Warn(ctx).Msg("m") }, slogLine{slog.LevelWarn, "m", "", "value"}},
		"error": {func(l log.CtxLogger) { l.Error(ctx).Msg("m") }, slogLine{slog.LevelError, "m", "", "value"}},
		"err": {
			func(l log.CtxLogger) { l.Err(ctx, errors.New("reason")).Msg("m") },
			slogLine{slog.LevelError, "m", "error=reason(String)", "value"},
		},
		"err nil":  {func(l log.CtxLogger) { l.Err(ctx, nil).Msg("m") }, slogLine{slog.LevelInfo, "m", "", "value"}},
		"no level": {func(l log.CtxLogger) { l.Log(ctx).Msg("m") }, slogLine{slog.LevelInfo, "m", "", "value"}},
		"fatal": {
			func(l log.CtxLogger) { l.WithLevel(ctx, zerolog.FatalLevel).Msg("m") },
			slogLine{log.LevelFatal, "m", "", "value"},
		},
		"panic": {
			func(l log.CtxLogger) {
				defer func() { _ = recover() }()
				l.Panic(ctx).Msg("m")
			},
			slogLine{log.LevelPanic, "m", "", "value"},
		},
		"no message": {func(l log.CtxLogger) { l.Info(ctx).Send() }, slogLine{slog.LevelInfo, "", "", "value"}},
		"fields in order": {
			func(l log.CtxLogger) {
				l.WithField("z", "1").WithComponent("part").Info(ctx).Str("b", `quote " and \ `).Int("a", -3).Msg("m")
			},
			slogLine{slog.LevelInfo, "m", `z=1(String) component=part(String) b=quote " and \ (String) a=-3(Int64)`, "value"},
		},
		"numbers": {
			func(l log.CtxLogger) {
				l.Info(ctx).Int64("i", 9007199254740993).Uint64("u", 18446744073709551615).Float64("f", 0.5).Bool("t", true).Msg("m")
			},
			slogLine{slog.LevelInfo, "m", "i=9007199254740993(Int64) u=18446744073709551615(Uint64) f=0.5(Float64) t=true(Bool)", "value"},
		},
		"groups": {
			func(l log.CtxLogger) {
				l.Info(ctx).Dict("outer", zerolog.Dict().Str("a", "b").Dict("inner", zerolog.Dict().Int("n", 1))).Msg("m")
			},
			slogLine{slog.LevelInfo, "m", "outer=[a=b inner=[n=1]](Group)", "value"},
		},
		"lists": {
			func(l log.CtxLogger) {
				l.Info(ctx).Strs("s", []string{"a", "b"}).Interface("m", []any{map[string]any{"x": 1}}).Interface("n", nil).Msg("m")
			},
			slogLine{slog.LevelInfo, "m", "s=[a b](Any) m=[map[x:1]](Any) n=<nil>(Any)", "value"},
		},
		"names of their own": {
			func(l log.CtxLogger) {
				l.Info(ctx).Str("level", "low").Str("message", "hello").Str("time", "noon").Msg("m")
			},
			slogLine{slog.LevelInfo, "m", "level=low(String) message=hello(String) time=noon(String)", "value"},
		},
		"a level without a level": {
			func(l log.CtxLogger) { l.Log(ctx).Str("level", "low").Msg("m") },
			slogLine{slog.LevelInfo, "m", "level=low(String)", "value"},
		},
		"no line of JSON": {
			func(l log.CtxLogger) { l.Info(ctx).RawJSON("x", []byte("]")).Msg("m") },
			slogLine{slog.LevelInfo, `{"level":"info","x":],"message":"m"}`, "", "value"},
		},
		"without a context": {
			func(l log.CtxLogger) { l.Logger.Info().Int("a", 1).Msg("m") },
			slogLine{slog.LevelInfo, "m", "a=1(Int64)", nil},
		},
		"a level of the logger": {
			func(l log.CtxLogger) {
				l.Logger = l.Logger.Level(zerolog.WarnLevel)
				l.Info(ctx).Msg("off")
				l.Warn(ctx).Msg("m")
			},
			slogLine{slog.LevelWarn, "m", "", "value"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newSlogRecorder(log.LevelTrace)
			tt.write(log.FromSlog(r))
			if want := []slogLine{tt.want}; !reflect.DeepEqual(*r.lines, want) {
				t.Errorf("got %+v, want %+v", *r.lines, want)
			}
		})
	}
}

// The handler decides which levels are on, at any time and by the context.
func TestFromSlog_levelOff(t *testing.T) {
	level := &slog.LevelVar{}
	level.Set(slog.LevelWarn)
	r := newSlogRecorder(level)
	l := log.FromSlog(r).WithComponent("part").WithField("a", "b")
	ctx := context.Background()
	if l.Debug(ctx) != nil || l.Info(ctx) != nil || l.Warn(ctx) == nil {
		t.Error("a level that is off makes an event, or one that is on does not")
	}
	if n := testing.AllocsPerRun(100, func() { l.Info(ctx).Str("a", "b").Msg("hello") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	l.Logger.Info().Msg("off, too")
	if len(*r.lines) > 0 {
		t.Errorf("lines of a level that is off: %v", *r.lines)
	}
	l.Info(context.WithValue(ctx, contextKey{}, "all")).Msg("on by its context")
	level.Set(slog.LevelInfo)
	l.Info(ctx).Msg("on")
	if len(*r.lines) != 2 {
		t.Errorf("the lines are %v", *r.lines)
	}
}

// failing is a handler that fails.
type failing struct{ slogRecorder }

func (failing) Handle(context.Context, slog.Record) error { return errors.New("no disk") }

// The error of a handler does not come to the standard error, where zerolog writes errors.
func TestFromSlog_handlerFails(t *testing.T) {
	handler := zerolog.ErrorHandler
	defer func() { zerolog.ErrorHandler = handler }()
	zerolog.ErrorHandler = func(err error) { t.Errorf("zerolog reports %v", err) }
	log.FromSlog(failing{newSlogRecorder(log.LevelTrace)}).Info(t.Context()).Msg("m")
}

func TestFromSlog_nil(t *testing.T) {
	l := log.FromSlog(nil)
	l.Info(context.Background()).Msg("hello")
	if l.Error(context.Background()) != nil {
		t.Error("a logger without a handler makes an event")
	}
}

// What a handler of the standard library makes of a line.
func ExampleFromSlog() {
	handler := slog.NewTextHandler(exampleOutput{}, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})
	logger := log.FromSlog(handler.WithAttrs([]slog.Attr{slog.String("pipeline", "orders")})).WithComponent("worker")
	ctx := context.Background()
	logger.Info(ctx).Int("records", 1000).Msg("batch done")
	logger.Debug(ctx).Msg("this level is off")
	// Output: level=INFO msg="batch done" pipeline=orders component=worker records=1000
}

// exampleOutput writes to the standard output that the example's test reads.
type exampleOutput struct{}

func (exampleOutput) Write(p []byte) (int, error) { return fmt.Print(string(p)) }

func BenchmarkFromSlog(b *testing.B) {
	for _, level := range []slog.Level{slog.LevelInfo, slog.LevelWarn} {
		b.Run(level.String(), func(b *testing.B) {
			b.ReportAllocs()
			l := log.FromSlog(slog.NewJSONHandler(discard{}, &slog.HandlerOptions{Level: level})).WithComponent("part")
			for b.Loop() {
				l.Info(b.Context()).Int("records", 1000).Str("task", "orders").Msg("batch done")
			}
		})
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
