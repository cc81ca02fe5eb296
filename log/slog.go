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

// FromSlog returns a logger that writes to a handler of log/slog. The handler gets the context
// of each line, its level and message, and its fields in order, with objects as groups. If the
// handler is nil, nothing is written.
//
// The handler decides which levels are enabled. A line of a disabled level costs one call of
// its method Enabled. Any other line is encoded as JSON and decoded again, which takes some
// microseconds. Therefore numbers arrive as int64, uint64 or float64, lists as slices, and
// times and durations as zerolog writes them.
//
// The levels trace, fatal and panic arrive as [LevelTrace], [LevelFatal] and [LevelPanic], and
// a line without a level as [slog.LevelInfo]. Lines that are written through the field Logger
// arrive with [context.Background]. Errors of the handler are dropped, as by a [slog.Logger].
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

// atSlog returns the logger for one line of a logger made by FromSlog. The writer of the line
// holds its context.
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
	message, attrs, err := parseLine(level, line)
	if err != nil { // a hook or an object has written invalid JSON
		message, attrs = string(bytes.TrimSpace(line)), nil
	}
	record := slog.NewRecord(time.Now(), l, message, 0)
	record.AddAttrs(attrs...)
	_ = w.handler.Handle(w.ctx, record) // zerolog would write the error to standard error
	return len(line), nil
}

// parseLine returns the message and the fields of a line. zerolog writes the level first and
// the message last; another field may have the name of one of them.
func parseLine(level zerolog.Level, line []byte) (message string, attrs []slog.Attr, err error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	value, err := parseValue(d)
	if err != nil {
		return "", nil, err
	}
	if value.Kind() != slog.KindGroup {
		return "", nil, fmt.Errorf("the line is not an object: %s", line)
	}
	attrs = value.Group()
	if level != zerolog.NoLevel && len(attrs) > 0 && isText(attrs[0], zerolog.LevelFieldName) {
		attrs = attrs[1:]
	}
	if last := len(attrs) - 1; last >= 0 && isText(attrs[last], zerolog.MessageFieldName) {
		message, attrs = attrs[last].Value.String(), attrs[:last]
	}
	return message, attrs, nil
}

// isText returns true if the attribute is a text with this key.
func isText(a slog.Attr, key string) bool {
	return a.Key == key && a.Value.Kind() == slog.KindString
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

// parseList reads the rest of a list. Objects in it become maps, since a handler expects groups
// only as values of attributes.
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

// numberValue returns a number. Integers of 64 bits keep all digits.
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
