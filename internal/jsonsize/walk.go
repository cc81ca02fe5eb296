package jsonsize

import (
	"reflect"

	"github.com/conduitio/conduit-commons/opencdc"
)

// trackBeyond is the depth from which on a walk looks for circles. Data of
// ordinary depth never pays for that.
const trackBeyond = 64

// walk adds up the sizes of what one piece of structured data holds. The zero
// value is ready for use. Its methods return false once the data turns out to
// hold itself; the walk is over then.
type walk struct {
	// depth is the number of maps and slices around the current value.
	depth int
	// path holds those of them that are deeper than trackBeyond.
	path map[container]struct{}
}

// container identifies a map or a slice.
type container struct {
	addr uintptr
	len  int
}

// value returns the size of a value's JSON.
func (w *walk) value(v any) (n int, ok bool) {
	switch typed := v.(type) {
	case string:
		return text(typed), true
	case float64:
		return number(typed), true
	case map[string]any, opencdc.StructuredData, []any:
		return w.container(v)
	default:
		return scalar(v), true
	}
}

// container returns the size of the JSON of a map or slice inside another one.
func (w *walk) container(v any) (n int, ok bool) {
	if !w.enter(v) {
		return 0, false
	}
	defer w.leave(v)
	switch v := v.(type) {
	case map[string]any:
		return w.object(v)
	case opencdc.StructuredData:
		return w.object(v)
	default:
		return w.array(v.([]any))
	}
}

func (w *walk) object(m map[string]any) (n int, ok bool) {
	if m == nil {
		return len("null"), true
	}
	n = enclosed(len(m))
	for k, v := range m {
		size, ok := w.value(v)
		if !ok {
			return 0, false
		}
		n += text(k) + len(":") + size
	}
	return n, true
}

func (w *walk) array(s []any) (n int, ok bool) {
	if s == nil {
		return len("null"), true
	}
	n = enclosed(len(s))
	for _, v := range s {
		size, ok := w.value(v)
		if !ok {
			return 0, false
		}
		n += size
	}
	return n, true
}

// enclosed returns the size of the brackets and commas around n elements.
func enclosed(n int) int {
	return len("[]") + max(n-1, 0)
}

// enter is called before the elements of a map or slice are visited, leave
// thereafter.
func (w *walk) enter(v any) bool {
	w.depth++
	if w.depth <= trackBeyond {
		return true
	}
	c := identify(v)
	if _, ok := w.path[c]; ok {
		return false
	}
	if w.path == nil {
		w.path = make(map[container]struct{})
	}
	w.path[c] = struct{}{}
	return true
}

func (w *walk) leave(v any) {
	if w.depth > trackBeyond {
		delete(w.path, identify(v))
	}
	w.depth--
}

func identify(v any) container {
	rv := reflect.ValueOf(v)
	return container{addr: rv.Pointer(), len: rv.Len()}
}
