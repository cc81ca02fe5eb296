package deepcopy

import (
	"bytes"
	"encoding/json"
	"maps"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
)

// budget is how many elements and containers are walked without remembering them. It
// bounds the wasted work on larger data.
const budget = 128

// cost returns how much of the budget the bytes of a container take, besides its
// elements. An element is about as much work as a kilobyte.
func cost(bytes int) int { return bytes >> 10 }

// copier copies by recursion or, if it has a memory, with it.
type copier struct {
	// left is the rest of the budget. Once it is negative the copy is void, and no
	// further container is walked.
	left int
	// memory, unless nil, copies everything but plain values.
	memory *memory
}

// spend is called before the elements of a container are copied. It reports whether the
// budget suffices for them.
func (c *copier) spend(n int) bool {
	c.left -= n + 1
	return c.left >= 0
}

// value copies a value of any type. It knows the types found in decoded JSON and the
// like; reflection handles the rest. It returns nil once the budget is exceeded.
func (c *copier) value(v any) any {
	switch v := v.(type) {
	case nil, bool, string,
		int, int8, int16, int32, int64,
		uint, uint8, uint16, uint32, uint64,
		float32, float64, json.Number, time.Time:
		return v
	}
	if c.memory != nil {
		return c.memory.value(v)
	}
	switch v := v.(type) {
	case map[string]any:
		return c.object(v)
	case opencdc.StructuredData:
		return opencdc.StructuredData(c.object(v))
	case []any:
		return c.array(v)
	case []map[string]any:
		return c.objects(v)
	case []byte:
		if !c.spend(cost(len(v))) {
			return nil
		}
		return bytes.Clone(v)
	case opencdc.RawData:
		if !c.spend(cost(len(v))) {
			return nil
		}
		return opencdc.RawData(bytes.Clone(v))
	case []string:
		if v == nil {
			return v
		}
		if !c.spend(len(v)) {
			return nil
		}
		return append([]string{}, v...)
	case map[string]string:
		if !c.spend(len(v)) {
			return nil
		}
		return maps.Clone(v)
	default:
		return c.reflected(v)
	}
}

func (c *copier) object(m map[string]any) map[string]any {
	if m == nil || !c.spend(len(m)) {
		return nil
	}
	copied := make(map[string]any, len(m))
	for k, v := range m {
		copied[k] = c.value(v)
	}
	return copied
}

func (c *copier) array(s []any) []any {
	if s == nil || !c.spend(len(s)) {
		return nil
	}
	copied := make([]any, len(s))
	for i, v := range s {
		copied[i] = c.value(v)
	}
	return copied
}

func (c *copier) objects(s []map[string]any) []map[string]any {
	if s == nil || !c.spend(len(s)) {
		return nil
	}
	copied := make([]map[string]any, len(s))
	for i, m := range s {
		copied[i] = c.object(m)
	}
	return copied
}
