package deepcopy

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"time"

	"github.com/conduitio/conduit-commons/opencdc"
)

// trackBeyond is the depth from which on a copier remembers what it has
// copied. Data of ordinary depth never pays for that; data that holds itself is
// unrolled down to this depth and closes its circle there.
const trackBeyond = 64

// copier makes one copy. The zero value is ready for use.
type copier struct {
	// depth is the number of maps, slices and pointers around the value that
	// is being copied.
	depth int
	// seen holds the copies of what was met since the depth first passed
	// trackBeyond. It is nil before that, and kept from then on: were it
	// dropped on the way back up, a map that holds itself twice would be
	// copied 2^trackBeyond times.
	seen map[reference]reflect.Value
}

// reference identifies a map, a slice or what a pointer points to. The type is
// part of it since a struct has the address of its first field.
type reference struct {
	addr uintptr
	len  int
	typ  reflect.Type
}

// enter is called before the elements of a map, slice or pointer are copied,
// leave thereafter.
func (c *copier) enter() {
	c.depth++
	if c.depth > trackBeyond && c.seen == nil {
		c.seen = make(map[reference]reflect.Value)
	}
}

func (c *copier) leave() {
	c.depth--
}

// value copies a value of any type. It knows the types that decoded JSON and
// the like consist of; the rest is left to reflection, as is every container
// once the copier has to remember it.
func (c *copier) value(v any) any {
	switch v := v.(type) {
	case nil, bool, string,
		int, int8, int16, int32, int64,
		uint, uint8, uint16, uint32, uint64,
		float32, float64, json.Number, time.Time:
		return v
	case []byte:
		return bytes.Clone(v)
	case opencdc.RawData:
		return opencdc.RawData(bytes.Clone(v))
	case []string:
		if v == nil {
			return v
		}
		return append([]string{}, v...)
	case map[string]string:
		return maps.Clone(v)
	}
	if c.seen != nil {
		return c.reflected(v)
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
	default:
		return c.reflected(v)
	}
}

func (c *copier) object(m map[string]any) map[string]any {
	if m == nil {
		return nil
	}
	c.enter()
	defer c.leave()
	copied := make(map[string]any, len(m))
	for k, v := range m {
		copied[k] = c.value(v)
	}
	return copied
}

func (c *copier) array(s []any) []any {
	if s == nil {
		return nil
	}
	c.enter()
	defer c.leave()
	copied := make([]any, len(s))
	for i, v := range s {
		copied[i] = c.value(v)
	}
	return copied
}

func (c *copier) objects(s []map[string]any) []map[string]any {
	if s == nil {
		return nil
	}
	c.enter()
	defer c.leave()
	copied := make([]map[string]any, len(s))
	for i, m := range s {
		copied[i] = c.object(m)
	}
	return copied
}
