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
	n := len(`""`)
	if len(s) >= wordSize && isPlain(s) {
		return n + len(s)
	}
	for i := range len(s) {
		width := widths[s[i]]
		if width == 0 {
			return n + wideText(s[i:])
		}
		n += int(width)
	}
	return n
}

// wordSize is the number of bytes in a word.
const wordSize = 8

// isPlain returns true if every character of s, which has the length of a word at
// least, stands for itself in JSON.
func isPlain(s string) bool {
	for i := 0; i+wordSize < len(s); i += wordSize {
		if !isPlainWord(word(s[i:])) {
			return false
		}
	}
	return isPlainWord(word(s[len(s)-wordSize:])) // some of it once more, maybe
}

// word returns the first bytes of s.
func word(s string) uint64 {
	_ = s[wordSize-1]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// isPlainWord returns true if each byte of a word is an ASCII character that
// stands for itself in JSON. It looks at all of them at once: if a byte is less
// than another one, and both are less than 128, their difference has its highest
// bit set. (So may have a byte above it, which does not matter here.)
func isPlainWord(w uint64) bool {
	const (
		each = 0x0101010101010101 // times a byte is a word of it
		high = each << 7
	)
	special := w | (w - each*' ') // not ASCII, or less than a space
	// x - each has the highest bit set where x is 0.
	special |= (w&^(each*('"'^'&')) ^ each*('"'&'&')) - each
	special |= (w&^(each*('<'^'>')) ^ each*('<'&'>')) - each
	special |= (w ^ each*'\\') - each
	return special&high == 0
}

// escaped is the size of a character that is written by its number.
const escaped = len(`\u0000`)

// widths are the sizes of the ASCII characters in a JSON string, 0 for the bytes
// of other characters.
var widths = func() (widths [256]uint8) {
	for c := range uint8(utf8.RuneSelf) {
		switch {
		case c == '"', c == '\\', c == '\n', c == '\r', c == '\t':
			widths[c] = 2
		case c < ' ', c == '<', c == '>', c == '&':
			widths[c] = uint8(escaped)
		default:
			widths[c] = 1
		}
	}
	return widths
}()

// wideText returns the size that s, which may hold any characters, has inside of
// a JSON string.
func wideText(s string) (n int) {
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			i++
			n += int(widths[c])
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
	if i < 0 {
		return len("-") + unsigned(-uint64(i))
	}
	return unsigned(uint64(i))
}

func unsigned(u uint64) int {
	n := 1
	for ; u >= 10_000; u /= 10_000 {
		n += 4
	}
	for ; u >= 10; u /= 10 {
		n++
	}
	return n
}

// float returns the size of a number, which has an exponent if it is very
// small or very large.
func float(f float64, bits int) int {
	abs := math.Abs(f)
	if bits == 64 {
		if n := decimal(abs); n > 0 {
			if math.Signbit(f) {
				n += len("-")
			}
			return n
		}
	}
	format := byte('f')
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

// decimal returns the size of a number that is not negative, if it can be written
// with a few decimals, else 0. A number that some digits stand for is the one
// nearest to them, which is what a division of two exact numbers returns.
func decimal(f float64) int {
	const maxExact = 1 << 53
	decimals := 0
	for scale := 1.0; scale <= 1e4; scale *= 10 {
		if digits := math.Round(f * scale); digits >= maxExact {
			return 0
		} else if digits/scale == f {
			n := unsigned(uint64(f))
			if decimals > 0 {
				n += len(".") + decimals
			}
			return n
		}
		decimals++
	}
	return 0
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
