package typenote

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// note is a parsed note.
type note struct {
	t       reflect.Type // or nil
	more    string
	text    *noteText      // of more, if it is long
	members map[string]any // or nil
}

// longNote is the size from which on a note is parsed once, however many values it is on.
// Otherwise a short letter could take for ever, and fill the memory with copies of one text.
const longNote = 64

// parsedOnce returns a note among others. If it is a long text, it is parsed and replaced.
func parsedOnce(members map[string]any, key string) (any, error) {
	text, ok := members[key].(string)
	if !ok || len(text) < longNote {
		return members[key], nil
	}
	n, err := parseNote(text)
	if err != nil {
		return nil, err
	}
	said, err := newNoteText(n)
	if err != nil {
		return nil, err
	}
	n.text = &said
	members[key] = &n
	return &n, nil
}

func badNote(v any) error {
	if n, ok := v.(*note); ok {
		v = n.t.String() + " " + n.more
	}
	text, err := json.Marshal(v)
	if err != nil {
		text = []byte("of type " + reflect.TypeOf(v).String())
	}
	return fmt.Errorf("the note %s is invalid", quote(string(text)))
}

// parseNote parses a note, or nil for none. It returns an error for a type that cannot be
// restored.
func parseNote(v any) (note, error) {
	switch v := v.(type) {
	case nil:
		return note{}, nil
	case map[string]any:
		return note{members: v}, nil
	case *note:
		return *v, nil
	case string:
		if what, ok := strings.CutPrefix(v, unsupported); ok {
			return note{}, fmt.Errorf("it was of a type that cannot be restored: %s", what)
		}
		name, more, _ := strings.Cut(v, " ")
		t, ok := typeOf(name)
		if !ok || t == anyType {
			return note{}, badNote(v)
		}
		return note{t: t, more: more}, nil
	case []any:
		if len(v) == 2 {
			return parseContainer(v[0], v[1])
		}
	}
	return note{}, badNote(v)
}

// parseContainer parses a note on the type of a container and what it holds.
func parseContainer(name, inside any) (note, error) {
	if what, ok := inside.(string); ok && strings.HasPrefix(what, unsupported) {
		return parseNote(what)
	}
	text, isText := name.(string)
	members, isMap := inside.(map[string]any)
	if !isText || !isMap {
		return note{}, badNote([]any{name, inside})
	}
	n, err := parseNote(text)
	if err == nil && (n.more != "" || !isContainer(n.t)) {
		return note{}, badNote([]any{name, inside})
	}
	n.members = members
	return n, err
}

// isContainer returns true for slices and maps other than bytes.
func isContainer(t reflect.Type) bool {
	return t.Kind() == reflect.Map || t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8
}

// noteText is what a note says of a string or a json.Number.
type noteText struct {
	original  string  // the string
	replaced  string  // the string as replaced returns it
	number    float64 // the json.Number
	err       error   // of number
	isInteger bool    // the json.Number has only digits
}

// newNoteText returns nothing for the note on another value.
func newNoteText(n note) (noteText, error) {
	switch n.t {
	case named["string"]:
		original, err := base64.StdEncoding.Strict().DecodeString(n.more)
		if err != nil {
			return noteText{}, fmt.Errorf("the note on it is invalid: %w", err)
		}
		return noteText{original: string(original), replaced: replaced(string(original))}, nil
	case named["json.Number"]:
		number, err := strconv.ParseFloat(n.more, 64)
		return noteText{number: number, err: err, isInteger: isInteger(n.more)}, nil
	default:
		return noteText{}, nil
	}
}

// textOf returns what the note says of a string or a json.Number.
func textOf(n note) (noteText, error) {
	if n.text != nil {
		return *n.text, nil
	}
	return newNoteText(n)
}

// run is a run of elements with the same note.
type run struct {
	first, last int
	key         string // of the note
}

// parseRuns returns the notes on n elements, in order.
func parseRuns(members map[string]any, n int) ([]run, error) {
	runs := make([]run, 0, len(members))
	for key, note := range members {
		first, last, isRange := strings.Cut(key, "-")
		if !isRange {
			last = first
		}
		from, ok := parseIndex(first, n)
		to, ok2 := parseIndex(last, n)
		if !ok || !ok2 || to < from {
			return nil, fmt.Errorf("the note on the elements %s does not fit an array of %d", quote(key), n)
		}
		if note == nil {
			return nil, badNote(note)
		}
		runs = append(runs, run{first: from, last: to, key: key})
	}
	slices.SortFunc(runs, func(a, b run) int { return a.first - b.first })
	for i := range runs {
		if i > 0 && runs[i].first <= runs[i-1].last {
			return nil, fmt.Errorf("there are two notes on element %d", runs[i].first)
		}
	}
	return runs, nil
}

// parseIndex returns an index of n elements.
func parseIndex(text string, n int) (int, bool) {
	i, err := strconv.Atoi(text)
	return i, err == nil && 0 <= i && i < n && strconv.Itoa(i) == text
}
