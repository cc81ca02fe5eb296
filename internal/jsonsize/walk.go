package jsonsize

import (
	"encoding/json"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
)

// budget is how many values, and pieces of longer texts, are measured without
// remembering them. It bounds the wasted work on larger data.
const budget = 512

// piece is the length of text that counts as one value.
const piece = 64

// walk adds up the sizes in one key or payload, by recursion or, if it belongs to a
// graph, one container at a time.
type walk struct {
	// left is the rest of the budget. Once it is negative the sizes are void, and no
	// further container is walked.
	left int
	// toll is what a container takes off the budget in addition to its elements.
	toll int
	// graph, unless nil, measures the containers inside another one.
	graph *graph
}

// spend is called before the parts of a container are measured. It reports
// whether the budget suffices for them.
func (w *walk) spend(n int) bool {
	w.left -= n + 1 + w.toll
	return w.left >= 0
}

// value returns the size of a value's JSON.
func (w *walk) value(v any) int {
	switch typed := v.(type) {
	case string:
		if len(typed) < piece {
			return text(typed)
		}
		return w.longText(typed)
	case float64:
		return number(typed)
	case map[string]any:
		if w.graph == nil {
			return w.object(typed)
		}
	case []any:
		if w.graph == nil {
			return w.array(typed)
		}
	default:
		return w.other(v)
	}
	return w.container(v)
}

// other returns the size of the JSON of a value of a less common type.
func (w *walk) other(v any) int {
	switch v := v.(type) {
	case nil:
		return len("null")
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
	case []byte:
		return w.bytes(v)
	case opencdc.RawData:
		return w.bytes(v)
	case time.Time:
		return moment(v)
	case json.Number:
		if len(v) < piece {
			return numeral(string(v))
		}
		return w.foreign(v)
	case opencdc.StructuredData, []string, map[string]string, []map[string]any:
		return w.container(v)
	default:
		return w.foreign(v)
	}
}

// text returns the size of a JSON string.
func (w *walk) text(s string) int {
	if len(s) < piece {
		return text(s)
	}
	return w.longText(s)
}

func (w *walk) longText(s string) int {
	w.left -= len(s) / piece
	switch {
	case w.graph != nil:
		return w.graph.text(s)
	case w.left < 0:
		return 0
	default:
		return text(s)
	}
}

// bytes returns the size of bytes in base 64.
func (w *walk) bytes(b []byte) int {
	w.left -= len(b) / piece
	if w.graph != nil {
		w.graph.bytes(b)
	}
	return base64Text(b)
}

// container returns the size of a map, slice or the like inside another one.
func (w *walk) container(v any) int {
	if w.graph != nil {
		return w.graph.container(v)
	}
	return w.parts(v)
}

// parts returns the size of a map, slice or the like. If the walk belongs to a graph,
// that is only the size of its brackets, keys and plain values.
func (w *walk) parts(v any) int {
	switch v := v.(type) {
	case map[string]any:
		return w.object(v)
	case opencdc.StructuredData:
		return w.object(v)
	case []any:
		return w.array(v)
	case []map[string]any:
		return w.objects(v)
	case []string:
		return w.texts(v)
	case map[string]string:
		return w.textMap(v)
	default:
		return w.foreignParts(v)
	}
}

func (w *walk) object(m map[string]any) int {
	if m == nil {
		return len("null")
	}
	if !w.spend(len(m)) {
		return 0
	}
	n := enclosed(len(m))
	for k, v := range m {
		if len(k) < piece {
			n += text(k)
		} else {
			n += w.longText(k)
		}
		n += len(":") + w.value(v)
	}
	return n
}

func (w *walk) array(s []any) int {
	if s == nil {
		return len("null")
	}
	if !w.spend(len(s)) {
		return 0
	}
	n := enclosed(len(s))
	for _, v := range s {
		n += w.value(v)
	}
	return n
}

func (w *walk) objects(s []map[string]any) int {
	if s == nil {
		return len("null")
	}
	if !w.spend(len(s)) {
		return 0
	}
	n := enclosed(len(s))
	for _, m := range s {
		n += w.container(m)
	}
	return n
}

func (w *walk) texts(s []string) int {
	if s == nil {
		return len("null")
	}
	if !w.spend(len(s)) {
		return 0
	}
	n := enclosed(len(s))
	for _, v := range s {
		n += w.text(v)
	}
	return n
}

func (w *walk) textMap(m map[string]string) int {
	if m == nil {
		return len("null")
	}
	if !w.spend(len(m)) {
		return 0
	}
	n := enclosed(len(m))
	for k, v := range m {
		n += w.text(k) + len(":") + w.text(v)
	}
	return n
}

// enclosed returns the size of the brackets and commas around n elements.
func enclosed(n int) int {
	return len("[]") + max(n-1, 0)
}
