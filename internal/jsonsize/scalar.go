package jsonsize

import (
	"encoding/base64"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/conduitio/conduit-commons/opencdc"
)

// scalar returns the size of the JSON of a value that is no map[string]any and
// no []any.
func scalar(v any) int {
	switch v := v.(type) {
	case nil:
		return len("null")
	case string:
		return text(v)
	case bool:
		if v {
			return len("true")
		}
		return len("false")
	case int:
		return integer(int64(v))
	case int8:
		return integer(int64(v))
	case int16:
		return integer(int64(v))
	case int32:
		return integer(int64(v))
	case int64:
		return integer(v)
	case uint:
		return unsigned(uint64(v))
	case uint8:
		return unsigned(uint64(v))
	case uint16:
		return unsigned(uint64(v))
	case uint32:
		return unsigned(uint64(v))
	case uint64:
		return unsigned(v)
	case uintptr:
		return unsigned(uint64(v))
	case float32:
		return float(float64(v), 32)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return 0 // no JSON; the encoder prints a float32 of this kind, though
		}
		return float(v, 64)
	case []byte:
		return base64Text(v)
	case opencdc.RawData:
		return base64Text(v)
	case time.Time:
		return moment(v)
	case []string:
		return texts(v)
	case map[string]string:
		return textMap(v)
	default:
		return marshalled(v)
	}
}

// text returns the size of a JSON string, in which control characters and what
// has a meaning in HTML or JavaScript are escaped, and each invalid byte is
// replaced by an escaped U+FFFD.
func text(s string) int {
	const escaped = len(`\u0000`)
	n := len(`""`)
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			i++
			switch {
			case c == '"', c == '\\', c == '\n', c == '\r', c == '\t':
				n += 2
			case c < ' ', c == '<', c == '>', c == '&':
				n += escaped
			default:
				n++
			}
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		if r == utf8.RuneError && size == 1 || r == '\u2028' || r == '\u2029' {
			n += escaped
		} else {
			n += size
		}
	}
	return n
}

func integer(i int64) int {
	var buf [20]byte
	return len(strconv.AppendInt(buf[:0], i, 10))
}

func unsigned(u uint64) int {
	var buf [20]byte
	return len(strconv.AppendUint(buf[:0], u, 10))
}

// float returns the size of a number, which has an exponent if it is very
// small or very large.
func float(f float64, bits int) int {
	format := byte('f')
	abs := math.Abs(f)
	if bits == 32 {
		// The limits are those of the narrow type.
		if a := float32(abs); a != 0 && (a < 1e-6 || a >= 1e21) {
			format = 'e'
		}
	} else if abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	var buf [32]byte
	return len(strconv.AppendFloat(buf[:0], f, format, -1, bits))
}

func base64Text(b []byte) int {
	if b == nil {
		return len("null")
	}
	return len(`""`) + base64.StdEncoding.EncodedLen(len(b))
}

// moment returns the size of a time, 0 if it is out of the range of RFC 3339.
func moment(t time.Time) int {
	var buf [len(time.RFC3339Nano)]byte
	b, err := t.AppendText(buf[:0])
	if err != nil {
		return 0
	}
	return len(`""`) + len(b)
}

func texts(s []string) int {
	if s == nil {
		return len("null")
	}
	n := enclosed(len(s))
	for _, v := range s {
		n += text(v)
	}
	return n
}

func textMap(m map[string]string) int {
	if m == nil {
		return len("null")
	}
	n := enclosed(len(m))
	for k, v := range m {
		n += text(k) + len(":") + text(v)
	}
	return n
}
