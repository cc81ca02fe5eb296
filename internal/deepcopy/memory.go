package deepcopy

import (
	"maps"
	"math"
	"reflect"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/conduitio/funnel/internal/nesting"
)

// memory copies each thing in a key or payload once. It makes, remembers and hands out
// an empty copy first, and fills it later, so nothing recurses and cycles close by
// themselves.
type memory struct {
	root opencdc.Data
	max  int // levels
	// copier copies the parts of things. Its memory is this one.
	copier copier
	copies map[nesting.Ref]any
	todo   []task
	// level is the level of the thing whose parts are being copied. It is never too
	// low. It is too high if a shorter path leads to a thing inside structs or arrays
	// than the one found first.
	level int
	// checked is set once tooDeep is exact.
	checked, tooDeep bool
}

// task is a copy that is still to be filled.
type task struct {
	original, copied any
	level            int
}

// copyOnce returns a copy of d, which may have any size, and up to max levels.
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

// enter is called for each level at which something is met. If the level is too high
// because of a detour, it counts the levels exactly, once.
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

// fill fills the copy of a task.
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

// box copies a struct or an array in an interface. Its copy cannot be handed out before
// it is filled, so structs and arrays inside it are copied first. They may be deeply
// nested, but form no cycle.
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
