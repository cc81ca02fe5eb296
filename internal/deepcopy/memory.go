package deepcopy

import (
	"maps"
	"math"
	"reflect"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/conduitio/funnel/internal/nesting"
)

// memory copies each thing that a key or payload holds once. A copy is empty at
// first, is remembered and handed out like that, and is filled when its turn
// comes, so that nothing recurses and a circle closes by itself.
type memory struct {
	root opencdc.Data
	max  int // levels
	// copier copies the parts of things. It has this memory.
	copier copier
	copies map[nesting.Ref]any
	todo   []task
	// level is the level of the thing whose parts are being copied. It is never
	// too low, but too high if there is a shorter way to a thing inside of
	// structs or arrays than the one that was found first.
	level int
	// checked is set once tooDeep is exact.
	checked, tooDeep bool
}

// task is a copy that is yet to be filled.
type task struct {
	original, copied any
	level            int
}

// copyOnce returns a copy of d, which may have any size, and max levels.
func copyOnce(d opencdc.Data, max int) (opencdc.Data, error) {
	m := &memory{root: d, max: max, copies: make(map[nesting.Ref]any)}
	m.copier = copier{left: math.MaxInt, memory: m}
	copied := m.value(d)
	for i := 0; i < len(m.todo) && !m.tooDeep; i++ {
		m.fill(m.todo[i])
	}
	if m.tooDeep {
		return nil, ErrTooDeep
	}
	return copied.(opencdc.Data), nil
}

// value returns the copy of a value that is not of a common plain type.
func (m *memory) value(v any) any {
	if d, ok := v.(opencdc.StructuredData); ok {
		return opencdc.StructuredData(m.value(map[string]any(d)).(map[string]any)) // the same map by another name
	}
	rv := reflect.ValueOf(v)
	if !isContainer(rv) && !nesting.IsNumber(rv.Type()) {
		return v
	}
	ref := nesting.RefOf(v)
	if copied, ok := m.copies[ref]; ok {
		return copied
	}
	var copied any
	switch {
	case nesting.IsBytes(rv.Type()):
		b := emptyCopy(rv)
		reflect.Copy(b, rv)
		copied = b.Interface()
	case nesting.IsNumber(rv.Type()):
		copied = m.copier.reflected(v)
	case isBox(rv):
		return m.box(v)
	default:
		m.enter(m.level + 1)
		copied = emptyCopyOf(v)
		m.todo = append(m.todo, task{original: v, copied: copied, level: m.level + 1})
	}
	m.copies[ref] = copied
	return copied
}

// enter is called for each level at which something is met. A level that is too
// high may come from a detour.
func (m *memory) enter(level int) {
	if level > m.max && !m.checked {
		m.checked, m.tooDeep = true, tooDeep(m.root, m.max)
	}
}

func emptyCopyOf(v any) any {
	switch v := v.(type) {
	case map[string]any:
		return make(map[string]any, len(v))
	case []any:
		return make([]any, len(v))
	case []map[string]any:
		return make([]map[string]any, len(v))
	default:
		return emptyCopy(reflect.ValueOf(v)).Interface()
	}
}

// fill does a task.
func (m *memory) fill(t task) {
	m.level = t.level
	switch v := t.original.(type) {
	case map[string]any:
		copied := t.copied.(map[string]any)
		for k, elem := range v {
			copied[k] = m.copier.value(elem)
		}
	case []any:
		copied := t.copied.([]any)
		for i, elem := range v {
			copied[i] = m.copier.value(elem)
		}
	case []map[string]any:
		copied := t.copied.([]map[string]any)
		for i, elem := range v {
			copied[i] = m.value(elem).(map[string]any)
		}
	case []string:
		copy(t.copied.([]string), v)
	case map[string]string:
		maps.Copy(t.copied.(map[string]string), v)
	default:
		m.copier.fill(reflect.ValueOf(t.copied), reflect.ValueOf(v))
	}
}

// box copies a struct or an array that an interface holds. Its copy cannot be
// handed out before it is filled, so those that it holds itself come first.
// They may be many, one inside of another, but they form no circle.
func (m *memory) box(v any) any {
	outer := m.level
	defer func() { m.level = outer }()
	var stack []task
	push := func(v any) {
		if _, ok := m.copies[nesting.RefOf(v)]; !ok && isBox(reflect.ValueOf(v)) {
			m.enter(m.level + 1)
			stack = append(stack, task{original: v, level: m.level + 1})
		}
	}
	for push(v); len(stack) > 0 && !m.tooDeep; {
		top, n := stack[len(stack)-1], len(stack)
		m.level = top.level
		ref := nesting.RefOf(top.original)
		if _, ok := m.copies[ref]; !ok {
			held(reflect.ValueOf(top.original), push)
			if len(stack) > n {
				continue
			}
			m.copies[ref] = m.copier.reflected(top.original)
		}
		stack = stack[:n-1]
	}
	if m.tooDeep {
		return v
	}
	return m.copies[nesting.RefOf(v)]
}
