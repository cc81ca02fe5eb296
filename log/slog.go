package log

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/rs/zerolog"
)

// FromSlog returns a logger that writes to a handler of log/slog. The handler gets the level,
// the message, the fields in their order, objects as groups, and the context of the line. If
// handler is nil, nothing is written.
//
// The handler decides which levels are on; a line of a level that is off costs one call of
// its Enabled method. Any other line is encoded and decoded again, which takes some
// microseconds. So numbers arrive as int64, uint64 or float64, lists as slices, and times and
// durations as zerolog writes them.
//
// The levels trace, fatal and panic arrive as [LevelTrace], [LevelFatal] and [LevelPanic], a
// line without a level as [slog.LevelInfo]. A line that is written through the field Logger
// has no context.
func FromSlog(handler slog.Handler) CtxLogger {
	if handler == nil {
		return Nop()
	}
	l := New(zerolog.New(slogWriter{handler, context.Background()}))
	l.handler = handler
	return l
}

// The levels of zerolog that log/slog does not define.
const (
	LevelTrace = slog.LevelDebug - 4
	LevelFatal = slog.LevelError + 4
	LevelPanic = slog.LevelError + 8
)

// slogLevel returns the level of log/slog for a level of zerolog.
func slogLevel(level zerolog.Level) slog.Level {
	switch level {
	case zerolog.DebugLevel:
		return slog.LevelDebug
	case zerolog.InfoLevel, zerolog.NoLevel:
		return slog.LevelInfo
	case zerolog.WarnLevel:
		return slog.LevelWarn
	case zerolog.ErrorLevel:
		return slog.LevelError
	case zerolog.FatalLevel:
		return LevelFatal
	case zerolog.PanicLevel:
		return LevelPanic
	default:
		return LevelTrace + slog.Level(4*(level-zerolog.TraceLevel)) // zerolog's own numbers below trace
	}
}

var off = zerolog.Nop()

// atSlog returns the logger for a line that goes to a handler of log/slog. Its writer holds
// the context.
func (l *CtxLogger) atSlog(ctx context.Context, level zerolog.Level) *zerolog.Logger {
	if level < l.GetLevel() || !l.handler.Enabled(ctx, slogLevel(level)) {
		return &off
	}
	logger := l.Output(slogWriter{l.handler, ctx})
	return &logger
}

// slogWriter passes the lines of zerolog on to a handler of log/slog.
type slogWriter struct {
	handler slog.Handler
	ctx     context.Context
}

// Write passes on a line without a level.
func (w slogWriter) Write(line []byte) (int, error) { return w.WriteLevel(zerolog.NoLevel, line) }

// WriteLevel passes on a line.
func (w slogWriter) WriteLevel(level zerolog.Level, line []byte) (int, error) {
	l := slogLevel(level)
	if !w.handler.Enabled(w.ctx, l) {
		return len(line), nil
	}
	message, attrs, err := parseLine(line)
	if err != nil { // a hook or an object has written something else
		message, attrs = string(bytes.TrimSpace(line)), nil
	}
	record := slog.NewRecord(time.Now(), l, message, 0)
	record.AddAttrs(attrs...)
	return len(line), w.handler.Handle(w.ctx, record)
}

// parseLine returns the message and the fields of a line. The level is not a field.
func parseLine(line []byte) (message string, attrs []slog.Attr, err error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	value, err := parseValue(d)
	if err != nil {
		return "", nil, err
	}
	if value.Kind() != slog.KindGroup {
		return "", nil, fmt.Errorf("the line is not an object: %s", line)
	}
	for _, a := range value.Group() {
		switch {
		case a.Key == zerolog.LevelFieldName && a.Value.Kind() == slog.KindString:
		case a.Key == zerolog.MessageFieldName && a.Value.Kind() == slog.KindString:
			message = a.Value.String()
		default:
			attrs = append(attrs, a)
		}
	}
	return message, attrs, nil
}

// parseValue reads a value. An object is a group.
func parseValue(d *json.Decoder) (slog.Value, error) {
	token, err := d.Token()
	if err != nil {
		return slog.Value{}, err
	}
	switch token := token.(type) {
	case json.Delim:
		if token == '{' {
			return parseGroup(d)
		}
		return parseList(d)
	case json.Number:
		return numberValue(token), nil
	default:
		return slog.AnyValue(token), nil
	}
}

// parseGroup reads the rest of an object.
func parseGroup(d *json.Decoder) (slog.Value, error) {
	var attrs []slog.Attr
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return slog.Value{}, err
		}
		value, err := parseValue(d)
		if err != nil {
			return slog.Value{}, err
		}
		attrs = append(attrs, slog.Attr{Key: key.(string), Value: value})
	}
	_, err := d.Token()
	return slog.GroupValue(attrs...), err
}

// parseList reads the rest of a list. Objects in it are maps, since a handler finds groups
// only in fields.
func parseList(d *json.Decoder) (slog.Value, error) {
	list := []any{}
	for d.More() {
		value, err := parseValue(d)
		if err != nil {
			return slog.Value{}, err
		}
		list = append(list, plainValue(value))
	}
	_, err := d.Token()
	return slog.AnyValue(list), err
}

// plainValue returns a value without the types of log/slog.
func plainValue(value slog.Value) any {
	if value.Kind() != slog.KindGroup {
		return value.Any()
	}
	m := make(map[string]any)
	for _, a := range value.Group() {
		m[a.Key] = plainValue(a.Value)
	}
	return m
}

// numberValue returns a number without losing a digit of an integer.
func numberValue(n json.Number) slog.Value {
	if i, err := n.Int64(); err == nil {
		return slog.Int64Value(i)
	}
	if u, err := strconv.ParseUint(n.String(), 10, 64); err == nil {
		return slog.Uint64Value(u)
	}
	if f, err := n.Float64(); err == nil {
		return slog.Float64Value(f)
	}
	return slog.StringValue(n.String())
}
