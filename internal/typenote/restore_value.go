package typenote

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"

	"github.com/conduitio/conduit-commons/opencdc"
)

// isNull returns true for nil, and for an interface that holds a nil slice or map.
func isNull(v any) bool {
	if v == nil {
		return true
	}
	r := reflect.ValueOf(v)
	return (r.Kind() == reflect.Slice || r.Kind() == reflect.Map) && r.IsNil()
}

// isNullOrEmpty returns true for what encoders write for nil: some write an empty array,
// object or string.
func isNullOrEmpty(v any) bool {
	if v == nil {
		return true
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Slice, reflect.Map, reflect.String:
		return r.Len() == 0
	default:
		return false
	}
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
		if !isNullOrEmpty(v) {
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
		return number(v, n)
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
		about, err := parsedOnce(n.members, k)
		if err != nil {
			return nil, err
		}
		if _, isNoted := n.members[k]; isNoted {
			noted++
			if about == nil {
				return nil, badNote(nil)
			}
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
			if about, err = parsedOnce(n.members, runs[0].key); err != nil {
				return nil, err
			}
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
