package jsonsize

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/conduitio/conduit-commons/opencdc"
)

type pair struct{ A, B any }

// thing is something that holds two others: a kind that is measured here, and
// counts with its circles (native) or without them (open), or one that is
// marshalled (opaque). Own is the size of its JSON without the two.
type thing struct {
	kind  string
	own   int
	value any
	// hold makes it hold two others. A box cannot be changed, so that it is
	// made like that.
	hold func(a, b any)
	box  func(a, b any) any

	held   []int // other things
	leaves int   // the size of what is no thing
	level  int
}

func newThing(r *rand.Rand) *thing {
	switch r.IntN(9) {
	case 0:
		m := map[string]any{}
		return &thing{kind: "native", own: len(`{"a":,"b":}`), value: m, hold: func(a, b any) { m["a"], m["b"] = a, b }}
	case 1:
		m := opencdc.StructuredData{}
		return &thing{kind: "native", own: len(`{"a":,"b":}`), value: m, hold: func(a, b any) { m["a"], m["b"] = a, b }}
	case 2:
		s := make([]any, 2)
		return &thing{kind: "native", own: len(`[,]`), value: s, hold: func(a, b any) { s[0], s[1] = a, b }}
	case 3:
		p := new([2]any)
		return &thing{kind: "open", own: len(`[,]`), value: p, hold: func(a, b any) { p[0], p[1] = a, b }}
	case 4:
		m := map[int8][1]any{}
		return &thing{kind: "open", own: len(`{"-1":[],"22":[]}`), value: m, hold: func(a, b any) { m[-1], m[22] = [1]any{a}, [1]any{b} }}
	case 5:
		return &thing{kind: "open", own: len(`[,]`), box: func(a, b any) any { return [2]any{a, b} }}
	case 6:
		return &thing{kind: "opaque", box: func(a, b any) any { return pair{a, b} }}
	case 7:
		p := new(pair)
		return &thing{kind: "opaque", value: p, hold: func(a, b any) { p.A, p.B = a, b }}
	default:
		s := make([]pair, 1)
		return &thing{kind: "opaque", value: s, hold: func(a, b any) { s[0] = pair{a, b} }}
	}
}

// network is a random graph of things; the first one is the root.
type network []*thing

func randomNetwork(r *rand.Rand) network {
	root := opencdc.StructuredData{}
	g := network{{kind: "native", own: len(`{"a":,"b":}`), value: root, hold: func(a, b any) { root["a"], root["b"] = a, b }, level: 1}}
	for range r.IntN(12) {
		g = append(g, newThing(r))
	}
	back := r.IntN(2) == 0
	pick := func(i int) any {
		j := 1 + r.IntN(len(g)+1)
		if r.IntN(2) == 0 {
			j = i + 1
		}
		if j >= len(g) || g[j].value == nil || !back && j <= i {
			leaf := []any{nil, 1, "text", []byte("bytes"), []any(nil), (*int)(nil), map[string]any(nil), 1.5}[r.IntN(8)]
			g[i].leaves += marshalled(leaf)
			return leaf
		}
		g[i].held = append(g[i].held, j)
		return g[j].value
	}
	for i := len(g) - 1; i > 0; i-- {
		if g[i].box != nil {
			g[i].value = g[i].box(pick(i), pick(i))
		}
	}
	for i, t := range g {
		if t.hold != nil {
			t.hold(pick(i), pick(i))
		}
	}
	for queue := []int{0}; len(queue) > 0; queue = queue[1:] {
		for _, j := range g[queue[0]].held {
			if g[j].level == 0 {
				g[j].level = g[queue[0]].level + 1
				queue = append(queue, j)
			}
		}
	}
	return g
}

// circular reports whether a thing that is not too deep is met again inside of
// itself on a way from thing i on that leads through the kinds allowed only.
func (g network) circular(i, maxDepth int, allowed func(*thing) bool) bool {
	const now, done = 1, 2
	state := make([]int, len(g))
	var visit func(i int) bool
	visit = func(i int) bool {
		if g[i].level > maxDepth || !allowed(g[i]) {
			return false
		}
		state[i] = now
		for _, j := range g[i].held {
			if state[j] == now || state[j] == 0 && visit(j) {
				return true
			}
		}
		state[i] = done
		return false
	}
	return visit(i)
}

// deepest returns the highest level that is reached from thing i on, which must
// not be circular.
func (g network) deepest(i, level, maxDepth int) int {
	deepest := level
	if g[i].level > maxDepth {
		return maxDepth + 1
	}
	for _, j := range g[i].held {
		deepest = max(deepest, g.deepest(j, level+1, maxDepth))
	}
	return deepest
}

// size returns what thing i counts, if the root is not circular.
func (g network) size(i, maxDepth int) int {
	t := g[i]
	if t.level > maxDepth {
		return 0
	}
	if t.kind != "native" && g.circular(i, maxDepth, func(*thing) bool { return true }) {
		return 0
	}
	if t.kind == "opaque" {
		if g.deepest(i, t.level, maxDepth) > maxDepth {
			return 0
		}
		return marshalled(t.value)
	}
	n := t.own + t.leaves
	for _, j := range t.held {
		n += g.size(j, maxDepth)
	}
	return n
}

// TestNetwork measures random graphs with a low limit.
func TestNetwork(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(1500) {
		g := randomNetwork(rand.New(rand.NewPCG(seed, 1)))
		root := g[0].value.(opencdc.StructuredData)
		for _, maxDepth := range []int{1, 2, 3, 5, 8, 100} {
			want, what := 0, "circular"
			if !g.circular(0, maxDepth, func(t *thing) bool { return t.kind == "native" }) {
				want, what = g.size(0, maxDepth), "cut"
			}
			if what == "cut" && maxDepth == 100 {
				what = "whole"
			}
			seen[what]++
			for range 2 {
				if got := newGraph(maxDepth, 0).measure(root); got != want {
					t.Fatalf("seed %d, %d levels, %s: got %d, want %d", seed, maxDepth, what, got, want)
				}
			}
			if maxDepth == 100 {
				if got := newGraph(maxDepth, small).measure(root); got != want {
					t.Fatalf("seed %d, small things at once: got %d, want %d", seed, got, want)
				}
				if got := Record(&opencdc.Record{Key: root}); got != want {
					t.Fatalf("seed %d: Record: got %d, want %d", seed, got, want)
				}
			}
		}
	}
	for _, what := range []string{"circular", "cut", "whole"} {
		if seen[what] < 150 {
			t.Errorf("%d are %s", seen[what], what)
		}
	}
}

func TestLevels(t *testing.T) {
	for text, want := range map[string]int{
		``: 0, `1`: 0, `[]`: 1, `{"a":[1,{"b":2}],"c":[[]]}`: 3, `"[[["`: 0, `["\"[[",{"\\":"["}]`: 2, `]][`: 0, `"[`: 0, `"\`: 0,
	} {
		if got := levels([]byte(text)); got != want {
			t.Errorf("%s: got %d, want %d", text, got, want)
		}
	}
}

func TestArithmetic(t *testing.T) {
	for _, tc := range []struct{ a, b, sum, product int }{
		{2, 3, 5, 6},
		{math.MaxInt, 0, math.MaxInt, 0},
		{math.MaxInt - 1, 1, math.MaxInt, math.MaxInt - 1},
		{math.MaxInt, 1, math.MaxInt, math.MaxInt},
		{2, math.MaxInt/2 + 1, math.MaxInt/2 + 3, math.MaxInt},
		{math.MaxInt, math.MaxInt, math.MaxInt, math.MaxInt},
	} {
		if got := add(tc.a, tc.b); got != tc.sum {
			t.Errorf("%d + %d: got %d", tc.a, tc.b, got)
		}
		if got := times(tc.a, tc.b); got != tc.product {
			t.Errorf("%d * %d: got %d", tc.a, tc.b, got)
		}
	}
}
