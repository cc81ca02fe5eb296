package file

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A value of a record becomes a part of one path element, whatever it holds. Escaping is
// injective: the values of two records that differ make different elements, unless both
// are cut and their hashes collide. What may not stand in a name becomes %XX, byte by
// byte, and so does the percent sign. The empty value becomes %empty. Too long a value is
// cut, and ends in %~ and a hash. Neither %e followed by m nor %~ is an escape.

const (
	maxElement    = 255      // bytes of a path element that file systems accept
	minValue      = 64       // bytes that a placeholder must be able to fill
	emptyValue    = "%empty" // stands for a value without text
	cutMark       = "%~"     // stands before the hash of a value that is cut
	hashSize      = 16       // bytes of the hash
	rotationSpace = 24       // bytes for what rotation adds to a name
	deviceSpace   = 8        // bytes that escapeDevice may add
)

// escapeRule is how the value of a placeholder is escaped, given where it stands.
type escapeRule struct {
	limit     int  // bytes, after escaping
	separator byte // ends the value where another placeholder follows, or 0
	isRotated bool // the name must not look like that of a rotated file
}

// setRules sets the rules of the placeholders of an element, which is checked.
func (e pieces) setRules(isRotated bool) error {
	if len(e) == 0 {
		return errors.New("it has an empty element behind the first placeholder")
	}
	space, placeholders := maxElement-deviceSpace, 0
	if isRotated {
		space -= rotationSpace
	}
	for i, p := range e {
		if !p.isPlaceholder() {
			space -= len(p.literal)
			continue
		}
		placeholders++
		e[i].rule.isRotated = isRotated
		if !e[i+1:].vary() {
			continue
		}
		next := e[i+1]
		if next.isPlaceholder() || !isSeparator(next.literal[0]) {
			return fmt.Errorf("{{%s}} needs a separator between it and the next placeholder, such as - or _", p.placeholder)
		}
		e[i].rule.separator = next.literal[0]
	}
	if placeholders == 0 {
		if e[0].literal == "." || e[0].literal == ".." {
			return fmt.Errorf("it has the element %q behind the first placeholder", e[0].literal)
		}
		return nil
	}
	limit := space / placeholders
	if limit < minValue {
		return fmt.Errorf("{{%s}} stands in an element that leaves no room for values", e.placeholder())
	}
	for i := range e {
		e[i].rule.limit = limit
	}
	return nil
}

// placeholder returns the first placeholder of an element that has one.
func (e pieces) placeholder() string {
	for i := range e {
		if e[i].isPlaceholder() {
			return e[i].placeholder
		}
	}
	return ""
}

// isSeparator reports whether a byte occurs in no escape, so that it can be escaped itself.
func isSeparator(b byte) bool {
	return b < utf8.RuneSelf && b != '%' && b != '~' && !unicode.IsLetter(rune(b)) && !unicode.IsDigit(rune(b))
}

// append appends the escaped value.
func (e *escapeRule) append(dst []byte, value string) []byte {
	if value == "" {
		return append(dst, emptyValue...)
	}
	begin := len(dst)
	cut := begin // where the value is cut if it is too long
	for i := 0; i < len(value); {
		r, size := utf8.DecodeRuneInString(value[i:])
		if e.mustEscape(value, i, r, size) {
			for _, b := range []byte(value[i : i+size]) {
				dst = appendEscape(dst, b)
			}
		} else {
			dst = append(dst, value[i:i+size]...)
		}
		i += size
		switch n := len(dst) - begin; {
		case n <= e.limit-len(cutMark)-2*hashSize:
			cut = len(dst)
		case n > e.limit:
			hash := sha256.Sum256([]byte(value))
			dst = append(dst[:cut], cutMark...)
			return hex.AppendEncode(dst, hash[:hashSize])
		}
	}
	return dst
}

// mustEscape reports whether the rune at i of the value, of size bytes, must be escaped.
func (e *escapeRule) mustEscape(value string, i int, r rune, size int) bool {
	isFirst, isLast := i == 0, i+size == len(value)
	switch {
	case r == utf8.RuneError && size == 1, unicode.IsControl(r):
		return true
	case strings.ContainsRune(`%/\<>:"|?*`, r):
		return true
	case r == ' ':
		return isLast || e.separator == ' '
	case r == '.' && (isFirst || isLast || e.separator == '.'):
		return true
	case r == '.':
		return e.isRotated && '0' <= value[i+1] && value[i+1] <= '9'
	default:
		return e.separator != 0 && r == rune(e.separator)
	}
}

func appendEscape(dst []byte, b byte) []byte {
	const digits = "0123456789ABCDEF"
	return append(dst, '%', digits[b>>4], digits[b&15])
}

// escapeDevice escapes the first rune of the first value if the element, which begins at
// begin, would be the name of a device of Windows.
func escapeDevice(dst []byte, begin, value int) []byte {
	if !isDevice(dst[begin:]) {
		return dst
	}
	_, size := utf8.DecodeRune(dst[value:])
	first, rest := string(dst[value:value+size]), string(dst[value+size:])
	dst = dst[:value]
	for _, b := range []byte(first) {
		dst = appendEscape(dst, b)
	}
	return append(dst, rest...)
}

// isDevice reports whether Windows takes the element for a device, whatever extension it
// has.
func isDevice(element []byte) bool {
	if !bytes.ContainsRune([]byte("CcPpAaNnLl"), rune(element[0])) {
		return false
	}
	name, _, _ := strings.Cut(string(element), ".")
	name = strings.ToUpper(strings.TrimRight(name, " "))
	switch name {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	port, ok := strings.CutPrefix(name, "COM")
	if !ok {
		port, ok = strings.CutPrefix(name, "LPT")
	}
	return ok && utf8.RuneCountInString(port) == 1 && strings.ContainsAny(port, "0123456789¹²³")
}
