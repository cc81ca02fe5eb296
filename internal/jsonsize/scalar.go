package jsonsize

import (
	"encoding/base64"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// text returns the size of a JSON string. Control characters, and characters with a
// meaning in HTML or JavaScript, are escaped. Each invalid byte becomes an escaped
// U+FFFD.
func text(s string) int {
	n := len(`""`)
	if isPlain(s) {
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

// isPlain returns true if every character of s stands for itself in JSON. It checks
// words of eight bytes, the last of which may overlap the one before it; a string of
// four to seven bytes is two halves that may overlap. For fewer than four bytes it
// returns false.
func isPlain(s string) bool {
	n := len(s)
	if n < 8 {
		return n >= 4 && isPlainWord(half(s)|half(s[n-4:])<<32)
	}
	for i := 0; i+8 < n; i += 8 {
		if !isPlainWord(half(s[i:]) | half(s[i+4:])<<32) {
			return false
		}
	}
	return isPlainWord(half(s[n-8:]) | half(s[n-4:])<<32)
}

// half returns the first four bytes of s, as half of a word.
func half(s string) uint64 {
	_ = s[3]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24
}

// isPlainWord returns true if each byte of a word is an ASCII character that stands for
// itself in JSON. It checks all bytes at once: if a byte is less than another, and both
// are less than 128, their difference has the highest bit set. (The byte above it may
// then have it set, too, which does not matter here.)
func isPlainWord(w uint64) bool {
	const (
		each = 0x0101010101010101 // multiplied by a byte, it repeats the byte in all eight places
		high = each << 7
	)
	special := w | (w - each*' ') // not ASCII, or less than a space
	// x - each has the highest bit set where x is 0.
	special |= (w&^(each*('"'^'&')) ^ each*('"'&'&')) - each
	special |= (w&^(each*('<'^'>')) ^ each*('<'&'>')) - each
	special |= (w ^ each*'\\') - each
	return special&high == 0
}

// escaped is the size of a character that is written as a number.
const escaped = len(`\u0000`)

// widths are the sizes of ASCII characters in a JSON string, and 0 for other bytes.
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

// wideText returns the size of s, which may hold any characters, inside a JSON string.
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
	const most = 20
	n := 1
	for limit := uint64(10); n < most && u >= limit; limit *= 10 {
		n++
	}
	return n
}

// numeral returns the size of a number given as text, or 0 if it cannot be a number.
func numeral(s string) int {
	if s == "" {
		return len("0")
	}
	for i := range len(s) {
		switch c := s[i]; {
		case '0' <= c && c <= '9', c == '.', c == 'e', c == 'E', c == '+', c == '-':
		default:
			return 0
		}
	}
	return len(s)
}

// number returns the size of a float64, or 0 if it has no JSON. (For such a float32 the
// encoder prints something, though.)
func number(f float64) int {
	if n := decimal(math.Abs(f)); n > 0 {
		if math.Signbit(f) {
			n += len("-")
		}
		return n
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return float(f, 64)
}

// decimal returns the size of a nonnegative number of ordinary size that a few decimals
// can represent, else 0. Decimal digits stand for the float nearest to them, which is
// also the result of dividing two exact numbers.
func decimal(f float64) int {
	const most = 1 << 43 // times 1e4 it is less than 2^63, and numbers of up to 2^53 are exact
	if !(f < most) {
		return 0
	}
	for decimals, scale := 0, 1.0; decimals <= 4; decimals, scale = decimals+1, scale*10 {
		scaled := f * scale
		digits := float64(int64(scaled + 0.5))
		if math.Abs(scaled-digits) > scaled*0x1p-51 || digits > 1<<53 || digits/scale != f {
			continue // the first comparison saves the division if the error is more than two roundings
		}
		n := unsigned(uint64(f))
		if decimals > 0 {
			n += len(".") + decimals
		}
		return n
	}
	return 0
}

// float returns the size of a number, with an exponent if it is very small or very
// large.
func float(f float64, bits int) int {
	abs := math.Abs(f)
	format := byte('f')
	if bits == 32 {
		// The limits are those of float32.
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

// moment returns the size of a time, or 0 if it is out of the range of RFC 3339.
func moment(t time.Time) int {
	var buf [len(time.RFC3339Nano)]byte
	b, err := t.AppendText(buf[:0])
	if err != nil {
		return 0
	}
	return len(`""`) + len(b)
}
