package deepcopy

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
	"github.com/conduitio/funnel/internal/nesting"
)

type (
	pair struct{ A, B any }
	ring struct {
		Next  *ring
		Other map[string]any
		pair
	}
	embeds struct{ opencdc.Data }
)

// boxes and holders make things that hold two others. A box is a struct or an
// array that an interface holds, so it is complete when it is made. A holder is
// made empty and connected later.
var (
	boxes = []func(a, b any) any{
		func(a, b any) any { return [2]any{a, b} },
		func(a, b any) any { return pair{a, b} },
		func(a, b any) any { return struct{ X [2]struct{ V any } }{[2]struct{ V any }{{a}, {b}}} },
		func(a, b any) any { return ring{pair: pair{a, b}} },
	}
	holders = []func() (v any, connect func(a, b any)){
		func() (any, func(a, b any)) {
			m := map[string]any{}
			return m, func(a, b any) { m["a"], m["b"] = a, b }
		},
		func() (any, func(a, b any)) {
			m := opencdc.StructuredData{}
			return m, func(a, b any) { m["a"], m["b"] = a, b }
		},
		func() (any, func(a, b any)) {
			s := make([]any, 2)
			return s, func(a, b any) { s[0], s[1] = a, b }
		},
		func() (any, func(a, b any)) {
			p := new([2]any)
			return p, func(a, b any) { p[0], p[1] = a, b }
		},
		func() (any, func(a, b any)) {
			p := &ring{}
			return p, func(a, b any) { p.A, p.B = a, b }
		},
		func() (any, func(a, b any)) {
			m := map[int][1]any{}
			return m, func(a, b any) { m[1], m[2] = [1]any{a}, [1]any{b} }
		},
		func() (any, func(a, b any)) {
			m := map[any]pair{}
			return m, func(a, b any) { m["x"] = pair{a, b} }
		},
		func() (any, func(a, b any)) {
			s := make([]pair, 1)
			return s, func(a, b any) { s[0] = pair{a, b} }
		},
	}
)

// network is a random graph of things that hold one another, and what is known
// about it without looking at it.
type network struct {
	root  opencdc.StructuredData
	depth int // levels on the shortest ways
}

func randomNetwork(r *rand.Rand) network {
	n := 1 + r.IntN(12)
	values, connect := make([]any, n), make([]func(a, b any), n)
	root := map[string]any{}
	values[0], connect[0] = opencdc.StructuredData(root), func(a, b any) { root["a"], root["b"] = a, b }
	for i := 1; i < n; i++ {
		if r.IntN(2) == 0 {
			values[i], connect[i] = holders[r.IntN(len(holders))]()
		}
	}
	// pick returns what thing i holds: often the next one, and only what exists
	// so far, if i is a box.
	edges := make([][]int, n)
	pick := func(i int) any {
		j := 1 + r.IntN(n+2)
		if r.IntN(2) == 0 {
			j = i + 1
		}
		if j >= n || values[j] == nil {
			return []any{nil, 1, "text", []byte("bytes"), []any(nil), (*ring)(nil), map[string]any(nil), 1.5}[r.IntN(8)]
		}
		edges[i] = append(edges[i], j)
		return values[j]
	}
	for i := n - 1; i > 0; i-- {
		if connect[i] == nil {
			values[i] = boxes[r.IntN(len(boxes))](pick(i), pick(i))
		}
	}
	for i := range n {
		if connect[i] != nil {
			connect[i](pick(i), pick(i))
		}
	}
	levels := make([]int, n)
	levels[0] = 1
	depth := 1
	for queue := []int{0}; len(queue) > 0; queue = queue[1:] {
		for _, j := range edges[queue[0]] {
			if levels[j] == 0 {
				levels[j] = levels[queue[0]] + 1
				depth = levels[j]
				queue = append(queue, j)
			}
		}
	}
	return network{root: root, depth: depth}
}

// TestNetwork copies random graphs with a low limit, and expects of each copy
// that it has the same shape: whatever is held twice is held twice.
func TestNetwork(t *testing.T) {
	t.Parallel()
	deepest := 0
	for seed := range uint64(2500) {
		g := randomNetwork(rand.New(rand.NewPCG(seed, 1)))
		deepest = max(deepest, g.depth)
		for limit := 1; limit <= g.depth+1; limit++ {
			want := g.depth > limit
			if got := tooDeep(g.root, limit); got != want {
				t.Fatalf("seed %d: %d levels, at most %d: tooDeep is %v", seed, g.depth, limit, got)
			}
			copied, err := copyOnce(g.root, limit)
			if got := err == ErrTooDeep; got != want || err != nil != got {
				t.Fatalf("seed %d: %d levels, at most %d: copyOnce fails with %v", seed, g.depth, limit, err)
			}
			if err != nil {
				continue
			}
			if !same(g.root, copied) {
				t.Fatalf("seed %d: the copy differs", seed)
			}
		}
		if _, err := Data(g.root); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if err := CheckDepth(&opencdc.Record{Key: g.root}); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	if deepest < 8 {
		t.Errorf("no graph has more than %d levels", deepest)
	}
}

func TestCopyOnce_Types(t *testing.T) {
	shared := map[string]any{"x": 1}
	deep := any(shared)
	for range 200 {
		deep = pair{A: deep, B: deep}
	}
	for name, d := range map[string]opencdc.Data{
		"alias": opencdc.StructuredData{"a": shared, "b": opencdc.StructuredData(shared)},
		"boxes": opencdc.StructuredData{"a": deep, "b": deep},
		"data":  embeds{opencdc.StructuredData{"a": opencdc.RawData("raw")}},
		"*data": &embeds{&opencdc.StructuredData{"a": []string{"b"}, "c": map[string]string{"d": "e"}}},
	} {
		t.Run(name, func(t *testing.T) {
			copied, err := copyOnce(d, MaxDepth)
			if err != nil {
				t.Fatal(err)
			}
			if !same(d, copied) {
				t.Error("the copy differs")
			}
		})
	}
	copied, _ := copyOnce(opencdc.StructuredData{"a": shared, "b": opencdc.StructuredData(shared)}, MaxDepth)
	d := copied.(opencdc.StructuredData)
	d["a"].(map[string]any)["x"] = 2
	if d["b"].(opencdc.StructuredData)["x"] != 2 {
		t.Error("one map with two types became two maps")
	}
}

// comparison compares two values of any depth. What is one thing in one of them
// must be one thing in the other, and no thing may belong to both.
type comparison map[nesting.Ref]nesting.Ref

// side is a value in one of them. A part is a struct or an array that no
// interface holds, which is no thing of its own.
type side struct {
	reflect.Value
	part bool
}

func same(original, copied any) bool {
	c := comparison{}
	todo := [][2]side{{{Value: reflect.ValueOf(original)}, {Value: reflect.ValueOf(copied)}}}
	for len(todo) > 0 {
		a, b := todo[len(todo)-1][0], todo[len(todo)-1][1]
		todo = todo[:len(todo)-1]
		push := func(a, b reflect.Value, part bool) { todo = append(todo, [2]side{{a, part}, {b, part}}) }
		if a.IsValid() != b.IsValid() || a.IsValid() && a.Type() != b.Type() {
			return false
		}
		if !a.IsValid() {
			continue
		}
		if k := a.Kind(); isContainer(a.Value) && !(a.part && (k == reflect.Array || k == reflect.Struct)) {
			if isNew, ok := c.pair(a, b); !ok {
				return false
			} else if !isNew {
				continue
			}
		}
		switch a.Kind() {
		case reflect.Interface:
			push(a.Elem(), b.Elem(), false)
		case reflect.Pointer:
			push(a.Elem(), b.Elem(), true)
		case reflect.Map:
			if a.Len() != b.Len() {
				return false
			}
			for _, k := range a.MapKeys() {
				push(a.MapIndex(k), b.MapIndex(k), true)
			}
		case reflect.Slice, reflect.Array:
			if a.Len() != b.Len() {
				return false
			}
			for i := range a.Len() {
				push(a.Index(i), b.Index(i), true)
			}
		case reflect.Struct:
			for i := range a.NumField() {
				if a.Field(i).CanInterface() || a.Type().Field(i).Anonymous {
					push(a.Field(i), b.Field(i), true)
				}
			}
		default:
			if !reflect.DeepEqual(a.Interface(), b.Interface()) {
				return false
			}
		}
	}
	return true
}

// pair notes that b is the copy of a, unless that is known.
func (c comparison) pair(a, b side) (isNew, ok bool) {
	if !isContainer(b.Value) {
		return false, false
	}
	refA, refB := refOf(a), refOf(b)
	copyOfA, known := c[refA]
	_, taken := c[refB]
	c[refA], c[refB] = refB, refA
	return !known, refA != refB && (known && copyOfA == refB || !known && !taken)
}

// refOf returns the same ref for one map of different types.
func refOf(s side) nesting.Ref {
	if m := reflect.TypeFor[map[string]any](); s.CanConvert(m) {
		return nesting.RefOf(s.Convert(m).Interface())
	}
	return nesting.RefOf(s.Interface())
}
