package typenote

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/conduitio/conduit-commons/opencdc"
)

// note is a parsed note.
type note struct {
	t       reflect.Type // or nil
	more    string
	members map[string]any // or nil
}

func badNote(v any) error {
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

// isNull returns true for nil, and for an interface that holds a nil slice or map.
func isNull(v any) bool {
	if v == nil {
		return true
	}
	r := reflect.ValueOf(v)
	return (r.Kind() == reflect.Slice || r.Kind() == reflect.Map) && r.IsNil()
}

// value restores a value, given the note on it, which may be nil. static is the type of the
// field, member or element that holds the value. Unless static is an interface, the result
// has that type.
func (s *restorer) value(v, noted any, static reflect.Type) (any, error) {
	if s.left--; s.left < 0 {
		return nil, errManyRestored
	}
	n, err := parseNote(noted)
	switch {
	case err != nil:
		return nil, err
	case static == anyType && n.t == nil:
		return s.untyped(v, n)
	case static == anyType:
		return s.typed(v, n)
	case n.t == nil:
		n.t = static
	case n.t != static:
		return nil, badNote(noted)
	}
	return s.typed(v, n)
}

// untyped restores a value whose type JSON carries.
func (s *restorer) untyped(v any, n note) (any, error) {
	switch v := v.(type) {
	case map[string]any:
		n.t = reflect.TypeOf(v)
		return s.object(v, n)
	case []any:
		n.t = reflect.TypeOf(v)
		return s.array(v, n)
	}
	if n.members != nil {
		return nil, fmt.Errorf("it is %s, but there are notes on what it holds", describe(v))
	}
	switch v := v.(type) {
	case nil, bool, string:
		return v, nil
	case float64:
		if hasFraction(v) {
			return v, nil
		}
		return nil, errors.New("it is an integer, and no note says of which type")
	case json.Number:
		f, err := strconv.ParseFloat(string(v), 64)
		if err != nil {
			return nil, err
		}
		if hasFraction(f) {
			return f, nil
		}
		return nil, errors.New("it is an integer, and no note says of which type")
	default:
		return nil, fmt.Errorf("it is %s, and no note says so", describe(v))
	}
}

// typed restores a value of the type of the note.
func (s *restorer) typed(v any, n note) (any, error) {
	kind := n.t.Kind()
	if n.more == isNil && (kind == reflect.Slice || kind == reflect.Map) {
		if !isNull(v) {
			return nil, fmt.Errorf("it is %s, not null, as the note on it says", describe(v))
		}
		return reflect.Zero(n.t).Interface(), nil
	}
	if isContainer(n.t) {
		switch {
		case n.more != "":
			return nil, fmt.Errorf("the note on it is invalid: unexpected %s after the type", quote(n.more))
		case isNull(v):
			return nil, fmt.Errorf("it is null, but no note says that the %v was nil", n.t)
		case kind == reflect.Map:
			return s.object(v, n)
		default:
			return s.array(v, n)
		}
	}
	if n.members != nil {
		return nil, fmt.Errorf("it is %s, but there are notes on what it holds", describe(v))
	}
	switch n.t {
	case named["time.Time"]:
		return s.time(v, n.more)
	case named["json.Number"]:
		return number(v, n.more)
	default:
		return scalar(v, n)
	}
}

// descend goes from the current value to a member or an element, and ascend goes back.
func (s *restorer) descend(to step) error {
	s.path = append(s.path, to)
	if len(s.path) > maxDepth+2*maxLevels {
		return errDeep
	}
	return nil
}

func (s *restorer) ascend() { s.path = s.path[:len(s.path)-1] }

// object restores a map.
func (s *restorer) object(v any, n note) (any, error) {
	m, ok := mapOf(v)
	if !ok {
		if m, ok = membersOf(v, n.t); !ok {
			return nil, fmt.Errorf("it is %s, not an object", describe(v))
		}
	}
	set, result := newMap(n.t, len(m))
	noted := 0
	for k, v := range m {
		if err := s.descend(step{key: k, index: -1}); err != nil {
			return nil, err
		}
		about, isNoted := n.members[k]
		if isNoted {
			noted++
		}
		if isNoted && about == nil {
			return nil, badNote(nil)
		}
		restored, err := s.value(v, about, n.t.Elem())
		if err != nil {
			return nil, err
		}
		s.ascend()
		set(k, restored)
	}
	if noted < len(n.members) {
		for _, k := range slices.Sorted(maps.Keys(n.members)) {
			if _, ok := m[k]; !ok {
				return nil, fmt.Errorf("there is a note on the member %s, which is missing", quote(k))
			}
		}
	}
	return result(), nil
}

// newMap returns functions that fill a new map and return it.
func newMap(t reflect.Type, n int) (set func(string, any), result func() any) {
	if t.Elem() != anyType {
		m := reflect.MakeMapWithSize(t, n)
		return func(k string, v any) { m.SetMapIndex(reflect.ValueOf(k), reflect.ValueOf(v)) }, m.Interface
	}
	m := make(map[string]any, n)
	set = func(k string, v any) { m[k] = v }
	if t == named["opencdc.StructuredData"] {
		return set, func() any { return opencdc.StructuredData(m) }
	}
	return set, func() any { return m }
}

// membersOf returns the members of a map of type t, or false if v is not one.
func membersOf(v any, t reflect.Type) (map[string]any, bool) {
	r := reflect.ValueOf(v)
	if r.Type() != t {
		return nil, false
	}
	m := make(map[string]any, r.Len())
	for iter := r.MapRange(); iter.Next(); {
		m[iter.Key().String()] = iter.Value().Interface()
	}
	return m, true
}

// array restores a slice.
func (s *restorer) array(v any, n note) (any, error) {
	elements, ok := v.([]any)
	if !ok {
		r := reflect.ValueOf(v)
		if r.Type() != n.t {
			return nil, fmt.Errorf("it is %s, not an array", describe(v))
		}
		elements = make([]any, r.Len())
		for i := range elements {
			elements[i] = r.Index(i).Interface()
		}
	}
	runs, err := parseRuns(n.members, len(elements))
	if err != nil {
		return nil, err
	}
	restored := reflect.MakeSlice(n.t, len(elements), len(elements))
	for i, v := range elements {
		if err := s.descend(step{index: i}); err != nil {
			return nil, err
		}
		for len(runs) > 0 && runs[0].last < i {
			runs = runs[1:]
		}
		var about any
		if len(runs) > 0 && runs[0].first <= i {
			about = runs[0].note
		}
		element, err := s.value(v, about, n.t.Elem())
		if err != nil {
			return nil, err
		}
		s.ascend()
		if element != nil {
			restored.Index(i).Set(reflect.ValueOf(element))
		}
	}
	return restored.Interface(), nil
}

// run is a run of elements with the same note.
type run struct {
	first, last int
	note        any
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
		runs = append(runs, run{first: from, last: to, note: note})
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
