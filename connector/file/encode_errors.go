package file

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

var (
	errInvalidName = errors.New("its name is not valid UTF-8")
	errNotUTF8     = errors.New("the text is not valid UTF-8")
	errTooDeep     = fmt.Errorf("the value is nested deeper than the %d levels that readers of JSON accept, or contains itself", maxDepth)
)

// valueError says which value of a record cannot be written.
type valueError struct {
	path []string // from the innermost part to the outermost
	err  error
}

// inField returns err as that of a field.
func inField(name string, err error) error { return in(fieldPart(name), err) }

// inElement returns err as that of an element of a list.
func inElement(i int, err error) error { return in("["+strconv.Itoa(i)+"]", err) }

func in(part string, err error) error {
	e, ok := err.(*valueError)
	if !ok {
		e = &valueError{err: err}
	}
	e.path = append(e.path, part)
	return e
}

// fieldPart returns how a field stands in a path: .name, or ["a name"] if it would be
// ambiguous.
func fieldPart(name string) string {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		return "[" + strconv.QuoteToASCII(shorten(name)) + "]"
	}
	return "." + shorten(name)
}

// maxPathParts is how many parts of a path an error names, on either end.
const maxPathParts = 16

// Error names the value by its path, such as .items[3].price.
func (e *valueError) Error() string {
	var path strings.Builder
	for i := len(e.path) - 1; i >= 0; i-- {
		if i == len(e.path)-maxPathParts && i > maxPathParts {
			path.WriteString("…")
			i = maxPathParts
		}
		path.WriteString(e.path[i])
	}
	return fmt.Sprintf("the value at %s: %v", path.String(), e.err)
}

func (e *valueError) Unwrap() error { return e.err }

// maxQuoted is how many bytes of a name or a value an error quotes.
const maxQuoted = 64

// shorten returns the beginning of s if s is too long for an error.
func shorten(s string) string {
	if len(s) <= maxQuoted {
		return s
	}
	return strings.ToValidUTF8(s[:maxQuoted], "") + "…"
}
